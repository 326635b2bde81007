"""An engine that does not answer one kind of call: a relay before the real one."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PIECE_BYTES = 65536


class DeafEngine(socketserver.ThreadingUnixStreamServer):
    """Passes everything on but the calls whose first line has a text in it.

    Attributes:
        was_called: Such a call has come.
    """

    daemon_threads = True

    def __init__(self, path: Path, engine: Path, deaf_to: bytes) -> None:
        self.engine = engine
        self.deaf_to = deaf_to
        self.was_called = threading.Event()
        super().__init__(str(path), _Relay)


class _Relay(socketserver.BaseRequestHandler):
    server: DeafEngine

    def handle(self) -> None:
        first = self.request.recv(_PIECE_BYTES)
        if self.server.deaf_to in first.partition(b"\r\n")[0]:
            self.server.was_called.set()
            while self.request.recv(_PIECE_BYTES):
                pass
            return
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(str(self.server.engine))
            engine.sendall(first)
            upward = threading.Thread(target=_copy, args=(self.request, engine), daemon=True)
            upward.start()
            _copy(engine, self.request)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE_BYTES):
            target.sendall(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def deaf_engine(path: Path, engine: Path, *, deaf_to: bytes) -> Iterator[DeafEngine]:
    """Relay at `path` what comes for the engine's socket."""
    with DeafEngine(path, engine, deaf_to) as relay:
        thread = threading.Thread(target=relay.serve_forever)
        thread.start()
        try:
            yield relay
        finally:
            relay.shutdown()
            thread.join()
