"""What the engine and its socket say, in our errors."""

import errno
import json
import os
import socket
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from ds01.adapters.docker.translation import (
    ERROR_OF_STATUS,
    ERROR_OF_WORDS,
    MAX_WORDS,
    MESSAGE_OF_ERRNO,
    socket_error,
    status_error,
    translated_socket_errors,
)
from ds01.adapters.docker.unix_socket import connect
from ds01.errors import BackendError, ConflictError, Ds01Error, ForbiddenError, InvalidRequestError, NotFoundError

PATH = "/run/docker.sock"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, BackendError),
        (400, InvalidRequestError),
        (401, ForbiddenError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (405, BackendError),
        (409, ConflictError),
        (500, BackendError),
        (501, BackendError),
        (503, BackendError),
    ],
)
def test_every_status_has_its_error_with_the_engines_words(status: int, kind: type[Ds01Error]) -> None:
    error = status_error(status, b'{"message":"the engine\'s words"}')
    assert type(error) is kind
    assert "the engine's words" in error.message
    assert error.details == {"engine_status": status}


def test_the_table_of_statuses_is_tested_whole() -> None:
    assert set(ERROR_OF_STATUS) == {400, 401, 403, 404, 409}


@pytest.mark.parametrize(("phrase", "kind"), list(ERROR_OF_WORDS.items()))
def test_a_refusal_with_the_wrong_status_is_known_by_its_words(phrase: str, kind: type[Ds01Error]) -> None:
    assert type(status_error(500, json.dumps({"message": f"tar: {phrase} x"}).encode())) is kind


@pytest.mark.parametrize(
    "words",
    [
        "driver failed programming external connectivity on endpoint a._.1001 (0f): Bind for 127.0.0.1:18080 failed: "
        "port is already allocated",
        "driver failed programming external connectivity on endpoint a._.1001 (0f): Error starting userland proxy: "
        "listen tcp4 127.0.0.1:18080: bind: address already in use",
        "failed to set up container networking: driver failed programming external connectivity on endpoint a (0f): "
        "failed to bind host port for 127.0.0.1:18080:172.17.0.2:80/tcp: address already in use",
    ],
)
def test_a_port_that_is_taken_is_a_conflict_that_names_it(words: str) -> None:
    error = status_error(500, json.dumps({"message": words}).encode())
    assert type(error) is ConflictError
    assert error.message == "Something else uses 127.0.0.1:18080 of this machine already."
    assert "-p PORT" in (error.hint or "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"No such container: x\r\n", "answered: No such container: x"),
        (b"", "answered: status 500"),
        (b"{}", "answered: status 500"),
        (b'{"message": 5}', "answered: status 500"),
        (b"[1]", "answered: status 500"),
        (b"\xff\xfe", "answered: \ufffd\ufffd"),
        (b'{"message":"a\\u001b[31mred\\nb"}', "answered: a [31mred b"),
    ],
)
def test_the_engines_words_are_one_printable_line(body: bytes, words: str) -> None:
    assert status_error(500, body).message.endswith(words)


def test_endless_words_are_cut() -> None:
    assert len(status_error(500, b"x" * 100_000).message) < MAX_WORDS + 100


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "There is no container engine at"),
        (errno.ENOTDIR, "There is no container engine at"),
        (errno.ECONNREFUSED, "No container engine listens on"),
        (errno.EACCES, "You may not use the engine's socket"),
        (errno.EPERM, "You may not use the engine's socket"),
        (errno.ECONNRESET, "closed the connection"),
        (errno.EPIPE, "closed the connection"),
        (errno.EMFILE, "too many open files"),
        (errno.ENFILE, "too many open files"),
    ],
)
def test_every_failure_of_the_socket_has_its_message_and_hint(number: int, words: str) -> None:
    with pytest.raises(BackendError, match=words) as caught, translated_socket_errors(PATH):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint
    assert "{" not in caught.value.message + caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)


def test_the_table_of_socket_errors_is_tested_whole() -> None:
    tested = {"ENOENT", "ENOTDIR", "ECONNREFUSED", "EACCES", "EPERM", "ECONNRESET", "EPIPE", "EMFILE", "ENFILE"}
    assert {errno.errorcode[number] for number in MESSAGE_OF_ERRNO} == tested


def test_another_failure_is_said_as_the_system_says_it() -> None:
    error = socket_error(OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE)), PATH)
    assert error.message == f"The container engine cannot be reached at {PATH}: Protocol wrong type for socket."
    assert "AF_UNIX path too long" in socket_error(OSError("AF_UNIX path too long"), PATH).message


async def test_an_absent_and_a_deserted_socket_differ() -> None:
    with tempfile.TemporaryDirectory(prefix="ds01-") as folder:
        path = str(Path(folder) / "s")
        with pytest.raises(BackendError, match="There is no container engine"), translated_socket_errors(path):
            await connect(path)
        with closing(socket.socket(socket.AF_UNIX)) as listener:
            listener.bind(path)
        with pytest.raises(BackendError, match="No container engine listens"), translated_socket_errors(path):
            await connect(path)
