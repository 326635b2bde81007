"""`groups/<group>.members`: one name a line, `#` begins a comment."""

import re
from collections.abc import Mapping

from ds01.config.document import TextFile, refusal, require_size

# a login name, @group or uid:N, without what ends a field of passwd(5); names of a directory may hold blanks
MEMBER = re.compile(r"uid:(0|[1-9][0-9]{0,9})|(?!uid:)@?[^\s:@](?:[^:\r\n\t\0]*[^\s:])?")
MEMBERS_FOLDER = "groups"
MEMBERS_SUFFIX = ".members"
ARCHIVED = "archived"
"""The predecessor's list of people who left: nobody's group."""


def parse_members(file: TextFile) -> Mapping[str, str]:
    """Return the members with `file:line`, in file order.

    Raises:
        InvalidRequestError: Not UTF-8, too large, or a line that is nobody's name.
    """
    require_size(file.raw, file.name)
    found: dict[str, str] = {}
    for number, line in enumerate(file.raw.split(b"\n"), start=1):
        where = f"{file.name}:{number}"
        try:
            text = line.decode("utf-8-sig").partition("#")[0].strip()
        except UnicodeDecodeError as failure:
            raise refusal(where, "the file is not UTF-8.", "Save it as UTF-8.") from failure
        if not text:
            continue
        if not MEMBER.fullmatch(text):
            raise refusal(where, f"{text[:80]!r} is nobody's name.", "Write one login name, @unix-group or uid:1234.")
        found.setdefault(text, where)
    return found
