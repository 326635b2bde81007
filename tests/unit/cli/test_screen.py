"""The streams behind a screen."""

import io
import sys

import pytest

from ds01.cli.screen import Screen


class CountedStream(io.TextIOWrapper):
    """Counts how often it is changed: a Ctrl-C in the middle of that leaves one that nothing can be written to."""

    changes = 0

    def reconfigure(self, **settings: object) -> None:
        self.changes += 1
        super().reconfigure(**settings)  # type: ignore[arg-type]


def test_every_character_can_be_written_and_no_later_screen_changes_the_streams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = [CountedStream(io.BytesIO(), encoding="ascii") for _ in range(2)]
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, stream)
    for _ in range(3):
        Screen({}).tell("grün")
    streams[1].seek(0)
    assert streams[1].read() == "gr\\xfcn\n" * 3
    assert [stream.changes for stream in streams] == [1, 1]
