"""The files that a site's builds get: proxies, and pip's configuration. They may hold passwords: nothing shows them."""

from pathlib import Path

from ds01.config.document import TextFile, read_file
from ds01.domain.images.build_site import BuildSite, parse_proxies
from ds01.domain.rules.site import Builds
from ds01.errors import InvalidRequestError


def read_build_site(builds: Builds, *, owner_uid: int | None = None) -> BuildSite:
    """Return what builds get.

    Args:
        builds: The policy's section.
        owner_uid: With a number, nobody but root and this user may be able to change the files; None: anybody may.

    Raises:
        InvalidRequestError: A file cannot be read or used; the message names the key, the file and the line.
    """
    proxies = _read("builds.proxy_file", builds.proxy_file, owner_uid)
    pip = _read("builds.pip_config_file", builds.pip_config_file, owner_uid)
    return BuildSite(
        proxies=parse_proxies(_text(proxies), proxies.name) if proxies else {},
        pip_config=_text(pip) if pip else "",
        time_limit=builds.time_limit,
    )


def _read(key: str, path: str | None, owner_uid: int | None) -> TextFile | None:
    if path is None:
        return None
    try:
        return read_file(Path(path), Path(path).name, owner_uid=owner_uid)
    except InvalidRequestError as failure:
        raise InvalidRequestError(f"{key}: {failure.message}", hint=failure.hint, details=failure.details) from failure


def _text(file: TextFile) -> str:
    try:
        return file.raw.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = file.raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{file.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure
