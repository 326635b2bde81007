"""Row 10: create -> running, and removal, against the bare Engine API with the same image, through one connection each.

The image is a framework's: it has sudo and git, and was used before, so nothing is pulled, built or looked into. The
anchor makes what anybody would make by hand: a terminal, an open stdin and a shell, no limits, no user, no mounts.
"""

import http.client
import json
import os
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ds01.client import Client
from tests.bench.daemon_site import serving
from tests.bench.figure import PAIRS, WARM_UPS, Figure
from tests.engine import DevEngine

IMAGE = "aimehub/pytorch-2.8.0-aime-cuda12.6.3"
NAME = "bench-create"
API = "/v1.41"


class BareEngine:
    """The Engine API without anything around it. Source: Engine API 1.41."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def call(self, method: str, target: str, body: Mapping[str, object] | None = None) -> bytes:
        """Make one call with a connection of its own, as the client of the product does."""
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(str(self._path))
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, API + target, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, text
            return text
        finally:
            connection.close()

    def create_and_start(self) -> None:
        """Make a container and start it."""
        body = {"Image": IMAGE, "Entrypoint": ["sh"], "Tty": True, "OpenStdin": True}
        self.call("POST", f"/containers/create?name={NAME}-bare", body)
        self.call("POST", f"/containers/{NAME}-bare/start")

    def kill_and_remove(self) -> None:
        """End it and remove it."""
        self.call("POST", f"/containers/{NAME}-bare/kill")
        self.call("DELETE", f"/containers/{NAME}-bare?v=1")


class Product:
    """The same by DS01."""

    def __init__(self, environment: Mapping[str, str], workspace: Path) -> None:
        self._client = Client.from_environment(environment, os.getuid(), may_start=False)
        self._workspace = str(workspace)

    def create_and_start(self) -> None:
        """Make a container with everything it gets, and start it."""
        self._client.create_container({"name": NAME, "image": IMAGE, "gpu": {"count": 0}, "workspace": self._workspace})
        self._client.start_container(NAME)

    def remove(self) -> None:
        """Remove it while it runs."""
        self._client.remove_container(NAME, force=True)


def measure() -> list[Figure]:
    """Return the figures of creation and of removal."""
    with DevEngine("bench") as engine, _workspace() as workspace, serving(engine) as environment:
        engine.bring_images("base")
        return _compare(Product(environment, workspace), BareEngine(engine.socket_path))


def _compare(product: Product, bare: BareEngine) -> list[Figure]:
    rounds = [
        (
            _time_ms(product.create_and_start),
            _time_ms(bare.create_and_start),
            _time_ms(product.remove),
            _time_ms(bare.kill_and_remove),
        )
        for _ in range(PAIRS + WARM_UPS)
    ][WARM_UPS:]
    created, made, removed, ended = (statistics.median(times) for times in zip(*rounds, strict=True))
    return [
        Figure(10, "create -> running", created, "ms", made, "Engine API create + start", 1.5, 1.1),
        Figure(10, "remove a running one", removed, "ms", ended, "Engine API kill + remove", 1.5, 1.1),
    ]


@contextmanager
def _workspace() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ds01-bench-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _time_ms(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000
