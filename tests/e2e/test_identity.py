"""Who is on the other end: the kernel's word counts only where nobody can choose it."""

import json

from tests.e2e.people import BOOKWORM
from tests.e2e.site import Site

ASK = """
import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect("/api.sock")
connection.sendall(b"GET /v1/containers?all=1 HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
print(connection.makefile("rb").read().decode())
"""


def test_a_container_that_was_given_the_socket_is_nobody(site: Site) -> None:
    alice = site.accounts["alice"]
    for number in (0, alice.uid):
        words = ["run", "--rm", "--user", str(number), "--volume", f"{site.socket}:/api.sock", BOOKWORM]
        answer = site.engine.docker(*words, "python3", "-c", ASK)
        head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
        assert head.startswith("HTTP/1.1 403"), answer
        assert "inside a container" in json.loads(body)["detail"]
    denied = site.run("events", "--name", "access.denied", "--json").document["events"]
    assert "inside a container" in denied[-1]["details"]["reason"]
