"""Directories of users, touched only by a process that has become the user."""

import shlex
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from ds01.adapters.linux.helper_process import HelperProcesses
from ds01.adapters.linux.mount_rules import expand, require_allowed, require_mountable_text, require_ordinary
from ds01.domain.user import User
from ds01.errors import BackendError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError
from ds01.service.ports import ResolvedDirectory

_REMEMBERED = 1024


class LinuxDirectories:
    """The Directories port.

    Args:
        forbidden: Directories of DS01 and of the engine, absolute and without links: neither they nor what lies in or
            around them is mounted. For a daemon that serves one user only, whose state lies in that user's home: none.
        helpers: How the helper is run.
    """

    def __init__(self, *, forbidden: Sequence[str] = (), helpers: HelperProcesses | None = None) -> None:
        self._forbidden = tuple(forbidden)
        self._helpers = helpers or HelperProcesses()
        # What `resolve` has made and `discard` may remove; the oldest are forgotten, and then stay.
        self._created: OrderedDict[tuple[int, str], object] = OrderedDict()

    async def resolve(self, user: User, path: str, *, create: bool) -> ResolvedDirectory:
        """Return a directory as the user sees it.

        Args:
            user: Whose rights count.
            path: Absolute path, or one that begins with `~`.
            create: Make it (mode 0700, and missing parents) when it does not exist.

        Raises:
            InvalidRequestError: It is not a directory, or the path cannot be mounted.
            NotFoundError: It does not exist and may not be made.
            ForbiddenError: The user may not enter or read it.
            BackendTimeoutError: The file system did not answer within five seconds.
            BackendError: The file system or the helper failed.
        """
        wanted = expand(user, path)
        require_allowed(user, wanted, self._forbidden)  # before anything is made there; what links hide comes below
        answer = await self._helpers.ask(user, {"action": "resolve", "path": wanted, "create": create})
        match answer:
            case {"path": str(real), "created": list(created), "is_writable": bool(writable), "file_system": str(kind)}:
                await self._check(user, real, kind, created)
                if created:
                    self._remember(user, real, created)
                return ResolvedDirectory(path=real, was_created=bool(created), is_writable=writable)
        raise _explain(user, wanted, answer)

    async def discard(self, user: User, path: str) -> None:
        """Remove a directory that `resolve` has just made, if it is still empty, and the parents made with it.

        Args:
            user: Whose it is.
            path: As `resolve` returned it; one that it did not make is left alone.

        Raises:
            BackendTimeoutError: The file system did not answer within five seconds.
            BackendError: The helper failed.
        """
        created = self._created.pop((user.uid, path), None)
        if created is not None:
            await self._helpers.ask(user, {"action": "discard", "created": created})

    async def close(self) -> None:
        """Wait for helpers that were killed, a few seconds at most."""
        await self._helpers.close()

    async def _check(self, user: User, real: str, file_system: str, created: list[object]) -> None:
        try:
            require_mountable_text(real)
            require_allowed(user, real, self._forbidden)
            require_ordinary(real, file_system)
        except InvalidRequestError:
            if created:
                await self._helpers.ask(user, {"action": "discard", "created": created})
            raise

    def _remember(self, user: User, real: str, created: list[object]) -> None:
        self._created[user.uid, real] = created
        if len(self._created) > _REMEMBERED:
            self._created.popitem(last=False)


def _explain(user: User, wanted: str, answer: Mapping[str, object]) -> Ds01Error:
    failure, reason = str(answer.get("failure")), str(answer.get("reason"))
    # Where it happened, which may be a parent; a name that is not UTF-8 is shown escaped.
    place = str(answer.get("path") or wanted).encode(errors="backslashreplace").decode()
    look = f"See who may: ls -ld {shlex.quote(place)}"
    match failure:
        case "missing":
            return NotFoundError(f"{place} does not exist.", hint=f"Make it: mkdir -p {shlex.quote(wanted)}")
        case "create":
            return NotFoundError(
                f"{place} does not exist, and {user.name} cannot make it: {reason}.",
                hint="Choose a directory below your home, such as ~/workspace/project.",
            )
        case "enter":
            return ForbiddenError(f"{user.name} may not enter {place}: {reason}.", hint=look)
        case "read":
            return ForbiddenError(f"{user.name} may not read {place}: {reason}.", hint=look)
        case "not_a_directory":
            return InvalidRequestError(
                f"{place} is not a directory.", hint=f"See what it is: ls -l {shlex.quote(place)}"
            )
        case "dangling":
            return InvalidRequestError(
                f"{place} is a link to something that does not exist.", hint=f"See where to: ls -l {shlex.quote(place)}"
            )
        case "invalid" | "unreachable":
            return InvalidRequestError(f"{place} cannot be mounted: {reason}.", hint="Write the directory's own path.")
    return BackendError(
        f"{place} cannot be looked at as {user.name}: {reason}.", hint=f"Try it: ls -la {shlex.quote(place)}"
    )
