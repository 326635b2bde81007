"""What the engine says of a program that it cannot start, told apart from what programs say."""

import pytest
from hypothesis import example, given, strategies as st

from ds01.cli.start_failure import MAX_BYTES, StartFailure, read_refusal

BEGINNING = "OCI runtime exec failed: exec failed: unable to start container process: "
LINE = f'{BEGINNING}exec: "pyton": executable file not found in $PATH: unknown\r\n'.encode()


def shown(failure: StartFailure, pieces: list[bytes]) -> bytes:
    return b"".join(failure.pass_on(piece) for piece in pieces)


@given(pieces=st.lists(st.binary() | st.sampled_from([b"OCI runtime ", b"exec failed: ", b"\n", LINE])))
@example(pieces=[LINE, b"and more"])
@example(pieces=[b"OCI runtime exec failed: ", b"x" * MAX_BYTES])
@example(pieces=[b"O", b"K\n"])
def test_no_byte_is_lost_or_comes_out_of_order(pieces: list[bytes]) -> None:
    failure = StartFailure()
    assert shown(failure, pieces) + failure.give_up() == b"".join(pieces)


@given(st.integers(len(BEGINNING), len(LINE)))
def test_the_engines_line_is_held_back_however_its_rest_comes(cut: int) -> None:
    failure = StartFailure()
    assert shown(failure, [LINE[:cut], LINE[cut:]]) == b""
    assert failure.reason().endswith('exec: "pyton": executable file not found in $PATH')


def test_a_program_that_says_a_letter_and_waits_is_not_kept() -> None:
    failure = StartFailure()
    assert failure.pass_on(LINE[:1]) == LINE[:1]
    assert failure.pass_on(LINE[1:]) == LINE[1:]


def test_a_program_that_says_the_same_and_goes_on_is_shown_at_once() -> None:
    failure = StartFailure()
    assert failure.pass_on(LINE + b"next\n") == LINE + b"next\n"
    assert failure.reason() == ""


@pytest.mark.parametrize(
    ("reason", "status", "message"),
    [
        ('exec: "x": executable file not found in $PATH', 127, "There is no program x in a."),
        ('exec: "x": stat x: no such file or directory', 127, "x cannot be run in a: no such file or directory."),
        ('exec: "x": permission denied', 126, "x cannot be run in a: permission denied."),
        (
            'chdir to cwd ("/no") set in config.json failed: no such file or directory',
            126,
            "There is no folder /no in a.",
        ),
        ("read init-p: connection reset by peer", 126, "x cannot be run in a: connection reset by peer."),
    ],
)
def test_each_reason_has_its_exit_status_and_words(reason: str, status: int, message: str) -> None:
    refusal = read_refusal(BEGINNING + reason, "x", "a")
    assert (refusal.status, refusal.message) == (status, message)
