"""The files in /etc/ds01 to frozen values. Strict: an unknown key is an error with file, line and the nearest key."""

from ds01.config.document import TextFile
from ds01.config.members import MEMBERS_FOLDER, MEMBERS_SUFFIX
from ds01.config.policy import POLICY_NAME, PolicyFiles, members_paths, parse_policy, read_policy

__all__ = [
    "MEMBERS_FOLDER",
    "MEMBERS_SUFFIX",
    "POLICY_NAME",
    "PolicyFiles",
    "TextFile",
    "members_paths",
    "parse_policy",
    "read_policy",
]
