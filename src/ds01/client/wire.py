"""One HTTP/1.1 exchange over a Unix socket, read strictly. Source: RFC 9112.

`http.client` is not used: it loads the e-mail parser, which takes longer than the whole of `ds01 list`. The C type
`_socket.socket` is used directly for the same reason (it is what `socket.socket` inherits from).
"""

# the standard library's socket module costs 6 ms to import, for names that nobody needs here
from _socket import AF_UNIX, MSG_DONTWAIT, SHUT_WR, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from collections.abc import Iterator, Mapping
from sys import byteorder

from ds01.errors import DaemonUnreachableError, InvalidRequestError

CONNECT_TIMEOUT_S = 5.0
MAX_LINE_BYTES = 16 * 1024
MAX_HEADERS = 100
MAX_BODY_BYTES = 256 * 1024**2
READ_BYTES = 64 * 1024
SWITCHING_PROTOCOLS = 101
_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_UNRESERVED = frozenset(b"-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


class Connection:
    """A connected stream with a buffer; after an upgrade its bytes are the program's.

    Attributes:
        path: The socket's path, for messages.
    """

    def __init__(self, stream: socket, path: str) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self.path = path

    def set_timeout(self, timeout_s: float | None) -> None:
        """Wait at most this long for each read or write; None waits for ever."""
        self._stream.settimeout(timeout_s)

    def peer_uid(self) -> int:
        """Return who listens at the other end. Source: unix(7), SO_PEERCRED: struct ucred {pid, uid, gid}."""
        return int.from_bytes(self._peer()[4:8], byteorder)

    def peer_pid(self) -> int:
        """Return the process that listens at the other end."""
        return int.from_bytes(self._peer()[:4], byteorder)

    def _peer(self) -> bytes:
        return self._stream.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)

    def fileno(self) -> int:
        """Return the descriptor, for select."""
        return self._stream.fileno()

    def has_buffered(self) -> bool:
        """Tell whether bytes are here that were read already: select does not know about them."""
        return bool(self._buffer)

    def send(self, data: bytes) -> None:
        """Send everything.

        Raises:
            DaemonUnreachableError: The other end is gone or takes nothing.
        """
        try:
            self._stream.sendall(data)
        except TimeoutError as failure:
            raise silent(self.path) from failure
        except OSError as failure:
            raise broken(self.path, "closed the connection while it was being asked") from failure

    def send_some(self, data: bytes) -> int:
        """Send what can be sent without waiting and return how many bytes that was.

        Raises:
            DaemonUnreachableError: The other end is gone.
        """
        try:
            return self._stream.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError as failure:
            raise broken(self.path, "closed the connection") from failure

    def receive(self) -> bytes:
        """Return what is there, at least one byte; empty at the end of the stream.

        Raises:
            DaemonUnreachableError: Nothing came in time, or the connection broke.
        """
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        return self._receive()

    def _receive(self) -> bytes:
        try:
            return self._stream.recv(READ_BYTES)
        except TimeoutError as failure:
            raise silent(self.path) from failure
        except ConnectionResetError as failure:
            raise broken(self.path, "broke the connection off") from failure
        except OSError as failure:
            raise broken(self.path, f"cannot be read: {failure.strerror}") from failure

    def read_line(self) -> bytes:
        """Return the next line without its end.

        Raises:
            DaemonUnreachableError: The line does not end, or is too long.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise broken(self.path, "sent a line that is too long")
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            raise broken(self.path, "sent something that is not HTTP")
        return line[:-1]

    def read_some(self, limit: int) -> bytes:
        """Return at least one and at most `limit` bytes.

        Raises:
            DaemonUnreachableError: The stream ended.
        """
        if not self._buffer:
            self._fill()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return data

    def _fill(self) -> None:
        data = self._receive()
        if not data:
            raise broken(self.path, "closed the connection in the middle of its answer")
        self._buffer += data

    def close_sending(self) -> None:
        """Say that nothing more will be sent: the program at the other end reads its end of file."""
        try:
            self._stream.shutdown(SHUT_WR)
        except OSError:
            return  # already gone: nobody is left to be told

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        self._stream.close()


class Answer:
    """Head of an answer, and its body still on the connection.

    Attributes:
        status: HTTP status.
        headers: Lower-case names to values.
        connection: Where the body comes from.
    """

    def __init__(self, status: int, headers: Mapping[str, str], connection: Connection) -> None:
        self.status = status
        self.headers = headers
        self.connection = connection

    @property
    def content_type(self) -> str:
        """Media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def body(self) -> Iterator[bytes]:
        """Yield the body piece by piece as it arrives.

        Raises:
            DaemonUnreachableError: It is cut off, or framed wrongly.
        """
        coding = self.headers.get("transfer-encoding")
        length = self.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise broken(self.connection.path, f"frames its answer as {coding[:40]!r}")
            yield from self._chunks()
        elif length is not None:
            yield from self._exactly(self._length(length))
        else:
            while data := self.connection.receive():
                yield data

    def read(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body.

        Raises:
            DaemonUnreachableError: It is cut off, framed wrongly, or larger than `limit` bytes.
        """
        pieces: list[bytes] = []
        size = 0
        for piece in self.body():
            size += len(piece)
            if size > limit:
                raise broken(self.connection.path, f"sent more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines, empty ones left out; a last line without an end counts as cut off.

        Raises:
            DaemonUnreachableError: The body is cut off, or a line is too long.
        """
        rest = b""
        for piece in self.body():
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line for line in whole if line.strip())
            if len(rest) > MAX_BODY_BYTES:
                raise broken(self.connection.path, "sent a line that is too long")
        if rest.strip():
            raise broken(self.connection.path, "closed the connection in the middle of its answer")

    def _length(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise broken(self.connection.path, f"sent the length {text[:40]!r}")
        return int(text)

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.connection.read_some(length)
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._exactly(size)
            if self.connection.read_line():
                raise broken(self.connection.path, "sent a chunk of the wrong length")
        while self.connection.read_line():
            pass  # trailers say nothing to us

    def _chunk_size(self) -> int:
        digits = self.connection.read_line().partition(b";")[0].strip()
        if not digits or len(digits) > 12 or not _HEX_DIGITS.issuperset(digits):
            raise broken(self.connection.path, f"sent the chunk size {digits[:40]!r}")
        return int(digits, 16)


def connect(path: str, timeout_s: float = CONNECT_TIMEOUT_S) -> Connection:
    """Return a connection to a Unix socket.

    Raises:
        FileNotFoundError: Nothing is at that path.
        ConnectionRefusedError: A socket is there, and nobody listens.
        DaemonUnreachableError: Anything else; the message says what.
    """
    stream = socket(AF_UNIX, SOCK_STREAM)
    try:
        stream.settimeout(timeout_s)
        stream.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        stream.close()
        raise
    except (TimeoutError, BlockingIOError) as failure:
        stream.close()
        raise silent(path) from failure
    except PermissionError as failure:
        stream.close()
        message = f"You may not use the socket {path}."
        raise DaemonUnreachableError(message, hint=f"Look at who may: ls -l {path}") from failure
    except OSError as failure:
        stream.close()
        raise DaemonUnreachableError(f"The socket {path} cannot be used: {failure.strerror or failure}.") from failure
    return Connection(stream, path)


def exchange(
    connection: Connection, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None = None
) -> Answer:
    """Send one request and return the head of its answer; informational answers are passed over.

    Args:
        connection: A fresh connection.
        method: HTTP method.
        target: Path and query, encoded.
        headers: More headers; `Host` and the body's length are added.
        body: The body, if the request has one.

    Raises:
        DaemonUnreachableError: The connection broke, or what came is not HTTP.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: ds01"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    elif method == "POST":
        lines.append("Content-Length: 0")
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii") + (body or b""))
    answer = _read_head(connection)
    while answer.status < 200 and answer.status != SWITCHING_PROTOCOLS:
        answer = _read_head(connection)
    return answer


def upload(connection: Connection, target: str, *, headers: Mapping[str, str], pieces: Iterator[bytes]) -> Answer:
    """POST a body of any length in chunks and return the head of the answer.

    A server that refuses early stops reading: what it said is then the answer, not the broken pipe.

    Raises:
        DaemonUnreachableError: The connection broke, or what came is not HTTP.
    """
    lines = [f"POST {target} HTTP/1.1", "Host: ds01", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    broken_off: DaemonUnreachableError | None = None
    try:
        for piece in pieces:
            if piece:
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
    except DaemonUnreachableError as failure:
        broken_off = failure
    try:
        return _read_head(connection)
    except DaemonUnreachableError:
        if broken_off is not None:
            raise broken_off from None
        raise


def _read_head(connection: Connection) -> Answer:
    version, _, rest = connection.read_line().partition(b" ")
    digits, reason = rest[:3], rest[3:]
    is_status = len(digits) == 3 and digits.isdigit() and reason[:1] in {b"", b" "}
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or not is_status:
        raise broken(connection.path, "sent something that is not HTTP")
    headers: dict[str, str] = {}
    while line := connection.read_line():
        name, colon, value = line.partition(b":")
        if not colon or not name or not _TOKEN.issuperset(name) or len(headers) >= MAX_HEADERS:
            raise broken(connection.path, "sent a header that is not one")
        key = name.decode("ascii").lower()
        if key in headers and key in {"content-length", "transfer-encoding"}:
            raise broken(connection.path, f"sent {key} twice")
        headers[key] = value.strip(b" \t").decode("latin-1")
    return Answer(int(digits), headers, connection)


def quote(text: str) -> str:
    """Return text as one segment of a path or one value of a query. Source: RFC 3986, section 2.1."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in data)


def segment(text: str, what: str) -> str:
    """Return text as one segment of a path.

    Raises:
        InvalidRequestError: It is empty: the path would be another one.
    """
    if not text:
        raise InvalidRequestError(f"The name of {what} is empty.", hint="Is a variable of your script empty?")
    return quote(text)


def broken(path: str, what: str) -> DaemonUnreachableError:
    """Return the error for an answer that cannot be used."""
    hint = "What was asked for may have happened or not: look with `ds01 status` and `ds01 list`."
    return DaemonUnreachableError(f"ds01d at {path} {what}.", hint=hint)


def silent(path: str) -> DaemonUnreachableError:
    """Return the error for a daemon that takes too long."""
    hint = "Look with `ds01 status`, then try again."
    return DaemonUnreachableError(f"ds01d at {path} did not answer in time.", hint=hint)
