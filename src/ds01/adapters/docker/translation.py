"""What the engine and its socket say, in the errors of DS01. The one place where they are translated.

    status       error                       socket              error (all BackendError)
    400          InvalidRequestError         ENOENT, ENOTDIR     there is no engine here
    401, 403     ForbiddenError              ECONNREFUSED        nobody listens
    404          NotFoundError               EACCES, EPERM       you may not use the socket
    409          ConflictError               ECONNRESET, EPIPE   the engine went away
    others       BackendError                EMFILE, ENFILE      too many open files
                                             others              as the system says it

Some refusals come with status 500; they are known by their words. 304 ("it is so already") is no error where the caller
says so. Source: Engine API 1.41, each operation's responses.
"""

import errno
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ds01.errors import BackendError, ConflictError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError

MAX_WORDS = 2000
ERROR_OF_STATUS: Mapping[int, type[Ds01Error]] = {
    400: InvalidRequestError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
}
ERROR_OF_WORDS: Mapping[str, type[Ds01Error]] = {
    "invalid reference format": InvalidRequestError,
    "cannot overwrite directory": ConflictError,
    "cannot overwrite non-directory": ConflictError,
    "port is already allocated": ConflictError,
    "address already in use": ConflictError,
}
_TAKEN_PORT = re.compile(
    r"(?P<address>[0-9.]+:[0-9]+)\b[^ ]*( failed)?: (port is already allocated|(bind: )?address already in use)"
)
_MISSING = (
    "There is no container engine at {path}.",
    "Start it: sudo systemctl start docker. If it listens elsewhere: export DOCKER_HOST=unix:///path/to/docker.sock",
)
_SILENT = ("No container engine listens on {path}.", "Start it: sudo systemctl start docker")
_NOT_ALLOWED = (
    "You may not use the engine's socket {path}.",
    "See which group may with: ls -l {path}. Ask the administrator for it, or for ds01d, which needs no group.",
)
_GONE = (
    "The container engine closed the connection on {path}.",
    "See whether it was restarted: systemctl status docker. Then try again.",
)
_FULL = ("There are too many open files to ask the container engine.", "Raise the limit: ulimit -n 4096")
MESSAGE_OF_ERRNO: Mapping[int, tuple[str, str]] = {
    errno.ENOENT: _MISSING,
    errno.ENOTDIR: _MISSING,
    errno.ECONNREFUSED: _SILENT,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.ECONNRESET: _GONE,
    errno.EPIPE: _GONE,
    errno.EMFILE: _FULL,
    errno.ENFILE: _FULL,
}


def status_error(status: int, body: bytes) -> Ds01Error:
    """Return the error for an answer of the engine, in the engine's own words.

    Args:
        status: HTTP status.
        body: The answer: JSON with `message`, or plain text.
    """
    words = engine_words(body)
    by_words = next((kind for phrase, kind in ERROR_OF_WORDS.items() if phrase in words), BackendError)
    kind = ERROR_OF_STATUS.get(status, by_words)
    message = f"The container engine answered: {words or f'status {status}'}"
    hint = None if kind is not BackendError else "See its log: journalctl -u docker"
    if taken := _TAKEN_PORT.search(words):
        message = f"Something else uses {taken['address']} of this machine already."
        hint = "See what listens: ss -ltn. A new container with -p PORT alone gets a free one."
    return kind(message, hint=hint, details={"engine_status": status})


def engine_words(body: bytes) -> str:
    """Return the engine's message as one printable line of bounded length."""
    text = body.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = text  # the endpoints of raw streams answer in plain text
    if isinstance(document, dict):
        document = document.get("message", "")
    return printable(document if isinstance(document, str) else "")


def printable(text: str) -> str:
    """Return `text` as one line without control characters, cut to a length that a person can read."""
    line = "".join(character if character.isprintable() else " " for character in text).strip()
    return line if len(line) <= MAX_WORDS else f"{line[:MAX_WORDS]}..."


def socket_error(error: OSError, path: str) -> BackendError:
    """Return the error for a failure of the engine's socket."""
    known = MESSAGE_OF_ERRNO.get(error.errno or 0)
    if known is None:
        reason = error.strerror or str(error)
        return BackendError(f"The container engine cannot be reached at {path}: {reason}.")
    message, hint = known
    return BackendError(message.format(path=path), hint=hint.format(path=path))


@contextmanager
def translated_socket_errors(path: str) -> Iterator[None]:
    """Turn what the socket says inside the body into BackendError."""
    try:
        yield
    except OSError as error:
        raise socket_error(error, path) from error
