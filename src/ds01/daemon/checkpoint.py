"""The one counter of durable writes and engine calls, and the death at the n-th of them that tests ask for."""

import logging
import os
from collections.abc import Mapping

log = logging.getLogger(__name__)
CRASH_VARIABLE = "DS01_CRASH_AT"
CRASH_STATUS = 137


class CountingCheckpoint:
    """Counts steps. With a crash step it ends the process there, as kill -9 would: no handler, no buffer is flushed."""

    def __init__(self, crash_at: int | None = None) -> None:
        self._crash_at = crash_at
        self.count = 0

    def __call__(self, step: str) -> None:
        """Pass the next step."""
        self.count += 1
        if self._crash_at is not None and self.count >= self._crash_at:
            os.write(2, f"checkpoint {self.count}: {step}: ends here ({CRASH_VARIABLE})\n".encode())
            os._exit(CRASH_STATUS)


def checkpoint_from(environment: Mapping[str, str]) -> CountingCheckpoint:
    """Return the counter; `DS01_CRASH_AT=n` makes it deadly."""
    text = environment.get(CRASH_VARIABLE, "")
    return CountingCheckpoint(int(text) if text.isdigit() else None)
