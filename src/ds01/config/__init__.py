"""The files in /etc/ds01 to frozen values. Strict: an unknown key is an error with file, line and the nearest key."""

from ds01.config.policy import POLICY_NAME, read_policy

__all__ = ["POLICY_NAME", "read_policy"]
