"""The way to the daemon of one place: it is found or started, its version is checked, its refusals are errors."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping

from ds01 import VERSION
from ds01.client.wire import Answer, Connection, broken, connect, exchange, upload
from ds01.errors import DaemonUnreachableError, Ds01Error, InvalidRequestError

TYPE_CHECKING = False  # the name that checkers know, without the import of typing that costs 5 ms
if TYPE_CHECKING:
    from typing import Any

    from ds01.api.location import Location
    from ds01.api.place import Place

VERSION_HEADER = "DS01-Version"
READING_TIMEOUT_S = 60.0
LEAVING_TRIES = 5
LEAVING_PAUSE_S = 0.05


class Request:
    """One request.

    Attributes:
        method: HTTP method.
        target: Path and query, encoded.
        body: Document to send.
        timeout_s: How long each read may take; None for streams.
        accept: Media type that is asked for.
        upgrade: Protocol that the connection shall change to.
        pieces: An archive to send instead of a document, piece by piece; read once.
    """

    __slots__ = ("accept", "body", "method", "pieces", "target", "timeout_s", "upgrade")

    def __init__(
        self,
        method: str,
        target: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float | None = READING_TIMEOUT_S,
        accept: str = "",
        upgrade: str = "",
        pieces: Iterator[bytes] | None = None,
    ) -> None:
        self.method = method
        self.target = target
        self.body = body
        self.timeout_s = timeout_s
        self.accept = accept
        self.upgrade = upgrade
        self.pieces = pieces

    def headers(self) -> dict[str, str]:
        """Return the headers besides those about the body's length."""
        found = {VERSION_HEADER: VERSION, "Connection": "Upgrade" if self.upgrade else "close"}
        if self.accept:
            found["Accept"] = self.accept
        if self.upgrade:
            found["Upgrade"] = self.upgrade
        if self.body is not None:
            found["Content-Type"] = "application/json"
        if self.pieces is not None:
            found["Content-Type"] = "application/x-tar"
        return found

    def content(self) -> bytes | None:
        """Return the body's bytes.

        Raises:
            InvalidRequestError: A text in it is not UTF-8.
        """
        return None if self.body is None else _encode(self.body)


class Transport:
    """Sends requests; every one has its own connection, nothing is kept open in between.

    Attributes:
        path: The socket's path.
    """

    def __init__(
        self, location: Location | Place, *, may_start: bool, launcher: Callable[[Location | Place], None] | None
    ) -> None:
        self.path = os.fspath(location.socket)
        self._location = location
        self._may_start = may_start and location.is_personal
        self._launch = launcher or _launch
        self._is_version_checked = False

    def ask(self, request: Request) -> Answer:
        """Send a request to a daemon of our version. Reading can be repeated, so only acting looks first.

        Raises:
            Ds01Error: The daemon refused it, or does not answer.
        """
        if request.method != "GET" and not self._is_version_checked:
            self.ask(Request("GET", "/v1/status")).connection.close()
        answer = self._send_patiently(request)
        if not self._is_version_checked:
            if self._must_be_replaced(answer):
                pid = answer.connection.peer_pid()
                answer.connection.close()
                self._replace_daemon(pid)
                answer = self._send(request)
            self._is_version_checked = True
        if answer.status >= 400:
            raise self._refusal(answer)
        return answer

    def read(self, request: Request) -> Any:  # noqa: ANN401 - the caller names the document
        """Send a request and return the document that answers it.

        Raises:
            Ds01Error: The daemon refused it, or does not answer.
        """
        answer = self.ask(request)
        try:
            return parse_document(answer.read(), self.path)
        finally:
            answer.connection.close()

    def _send_patiently(self, request: Request) -> Answer:
        """What only reads is sent again when it met a personal daemon on its way out."""
        tries = LEAVING_TRIES if request.method == "GET" and self._may_start else 1
        while True:
            tries -= 1
            try:
                return self._send(request)
            except DaemonUnreachableError as error:
                if not tries or isinstance(error.__cause__, TimeoutError):
                    raise
                time.sleep(LEAVING_PAUSE_S)

    def _send(self, request: Request) -> Answer:
        content = request.content()
        connection = self._connect()
        try:
            connection.set_timeout(request.timeout_s)
            if request.pieces is not None:
                return upload(connection, request.target, headers=request.headers(), pieces=request.pieces)
            return exchange(connection, request.method, request.target, headers=request.headers(), body=content)
        except BaseException:
            connection.close()
            raise

    def _connect(self) -> Connection:
        try:
            connection = connect(self.path)
        except (FileNotFoundError, ConnectionRefusedError) as failure:
            if not self._may_start:
                raise self._unreachable(failure) from failure
            self._launch(self._location)
            connection = connect(self.path)
        # the folder of a personal socket may be one that everybody can write to: nobody else may answer there
        if self._location.is_personal and connection.peer_uid() != os.getuid():
            connection.close()
            message = f"The socket {self.path} is served by another user."
            raise DaemonUnreachableError(message, hint="Move it away, and tell the administrator.")
        return connection

    def _unreachable(self, failure: OSError) -> DaemonUnreachableError:
        what = "nothing is there" if isinstance(failure, FileNotFoundError) else "nobody listens"
        hint = (
            "Start it: ds01 status" if self._location.is_personal else "Ask the administrator: systemctl status ds01d"
        )
        return DaemonUnreachableError(f"ds01d does not answer at {self.path}: {what}.", hint=hint)

    def _must_be_replaced(self, answer: Answer) -> bool:
        theirs = answer.headers.get(VERSION_HEADER.lower())
        if theirs is None or theirs == VERSION:
            return False
        if self._may_start:
            return True
        if not is_compatible(VERSION, theirs):
            answer.connection.close()
            raise DaemonUnreachableError(
                f"This is ds01 {VERSION} and ds01d at {self.path} is {theirs}: one minor version apart is the most.",
                hint="Use the ds01 that is installed with the daemon, or ask the administrator to update.",
            )
        return False

    def _replace_daemon(self, pid: int) -> None:
        """Ask the daemon with this process id to leave, unless another command has already done so."""
        from ds01.client.launch import wait_until_gone

        connection = self._connect()
        try:
            if connection.peer_pid() == pid:
                connection.set_timeout(READING_TIMEOUT_S)
                request = Request("POST", "/v1/shutdown")
                answer = exchange(connection, request.method, request.target, headers=request.headers())
                if answer.status >= 400:
                    raise self._refusal(answer)
        except DaemonUnreachableError:
            pass  # it is leaving already: another command has asked it
        finally:
            connection.close()
        wait_until_gone(self._location, pid)
        self._launch(self._location)

    def _refusal(self, answer: Answer) -> Ds01Error:
        try:
            text = answer.read(limit=1024**2)
        finally:
            answer.connection.close()
        if answer.content_type.endswith("json"):
            return error_from(parse_document(text, self.path))
        first = text.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        return Ds01Error(f"ds01d answered {answer.status}: {first or 'no reason given'}.", hint="Its log says more.")


def _launch(location: Location | Place) -> None:
    from ds01.client.launch import launch

    launch(location)


def is_compatible(ours: str, theirs: str) -> bool:
    """Tell whether a server daemon of version `theirs` can be used: same major, minor at most one away."""
    try:
        our_major, our_minor = map(int, ours.split(".")[:2])
        their_major, their_minor = map(int, theirs.split(".")[:2])
    except ValueError:
        return False
    return our_major == their_major and abs(our_minor - their_minor) <= 1


def _encode(body: Mapping[str, object]) -> bytes:
    text = json.dumps(body, allow_nan=False, ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as failure:
        bad = next(_not_utf8(body), "").encode("utf-8", "surrogateescape")
        raise InvalidRequestError(
            f"{str(bad)[1:]} is not UTF-8.", hint="Write it in UTF-8; a file of such a name has to be renamed first."
        ) from failure


def _not_utf8(value: object) -> Iterator[str]:
    """Yield the texts of a document that came from bytes which are not UTF-8."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_utf8(key)
            yield from _not_utf8(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _not_utf8(inner)


def parse_document(text: bytes, path: str) -> Any:  # noqa: ANN401 - the caller names the document
    """Return a document that the daemon at `path` sent.

    Raises:
        DaemonUnreachableError: It is none.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as failure:
        raise broken(path, "sent something that is not JSON") from failure
    if not isinstance(document, dict):
        raise broken(path, "sent JSON that is no document")
    return document


def error_from(document: Mapping[str, object]) -> Ds01Error:
    """Return the error that a problem document describes."""
    from ds01.api.problem import error_of

    return error_of(document)
