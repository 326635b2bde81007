"""The process that talks to the driver: `python -m ds01.adapters.nvml.child`.

It reads one request on a line from standard input and writes one answer on a line to standard output, until the input
ends. A call that hangs in the driver hangs this process only; the daemon leaves it and starts another.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import TextIO

import pynvml

from ds01.adapters.nvml.reading import ask, describe_failure, read_inventory, read_processes, read_samples
from ds01.adapters.nvml.wire import Answer, Reading, Request, Value

_READINGS: Mapping[Reading, Callable[[], Value]] = {
    "inventory": read_inventory,
    "samples": read_samples,
    "processes": read_processes,
}


class Library:
    """The NVML library, initialised once, at the first request: only then can a failure be answered."""

    def __init__(self) -> None:
        self._initialised = False

    def open(self) -> None:
        """Initialise the library if that has not succeeded yet.

        Raises:
            pynvml.NVMLError: It is not there, or does not get on with the driver.
        """
        if not self._initialised:
            ask("nvmlInit")
            self._initialised = True


def answer(request: Request, library: Library) -> Answer:
    """Return the answer to one request."""
    try:
        library.open()
        return Answer(id=request["id"], value=_READINGS[request["read"]]())
    except pynvml.NVMLError as error:
        return Answer(id=request["id"], failure=describe_failure(error))


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends."""
    library = Library()
    for line in requests:
        answers.write(json.dumps(answer(json.loads(line), library)) + "\n")
        answers.flush()


def main() -> None:
    """Serve standard input and output."""
    # The answers keep the descriptor; whatever a library prints goes to the log instead of between them.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin, answers)
    except BrokenPipeError:
        os._exit(0)  # the daemon is gone; there is nobody to flush the rest to


if __name__ == "__main__":
    main()
