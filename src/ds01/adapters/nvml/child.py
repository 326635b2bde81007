"""The process that talks to the driver: `python -m ds01.adapters.nvml.child`.

It reads one request on a line from standard input and writes one answer on a line to standard output, until the input
ends. A call that hangs in the driver hangs this process only; the daemon leaves it and starts another.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TextIO

import pynvml

from ds01.adapters.nvml.calls import ask, describe_failure
from ds01.adapters.nvml.changes import RefusedError, create_instance, destroy_instance, set_mig_mode
from ds01.adapters.nvml.reading import read_inventory
from ds01.adapters.nvml.sampling import read_processes, read_samples
from ds01.adapters.nvml.watching import Watcher
from ds01.adapters.nvml.wire import Answer, Question, Report, ReportAnswer, Request, Value

Answerers = Mapping[Question, Callable[..., Value]]


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


class Speaker:
    """Writes whole lines, from whichever thread."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._turn = threading.Lock()

    def say(self, line: Answer | Report) -> None:
        """Write one line."""
        with self._turn:
            self._output.write(json.dumps(line) + "\n")
            self._output.flush()

    def report(self, report: ReportAnswer) -> None:
        """Write what the driver reports."""
        try:
            self.say(Report(report=report))
        except (BrokenPipeError, ValueError):
            os._exit(0)  # the daemon is gone, or this process is on its way out


def answer(request: Request, library: Library, answerers: Answerers) -> Answer:
    """Return the answer to one request."""
    number = request["id"]
    try:
        library.open()
        return Answer(id=number, value=answerers[request["ask"]](**request.get("arguments", {})))
    except RefusedError as refused:
        return Answer(id=number, refusal=refused.refusal)
    except pynvml.NVMLError as error:
        return Answer(id=number, failure=describe_failure(error))


def serve(requests: TextIO, output: TextIO) -> None:
    """Answer requests until the input ends."""
    library, speaker = Library(), Speaker(output)
    answerers: Answerers = {
        "inventory": read_inventory,
        "samples": read_samples,
        "processes": read_processes,
        "watch": Watcher(speaker.report).watch,
        "set_mig_mode": set_mig_mode,
        "create_instance": create_instance,
        "destroy_instance": destroy_instance,
    }
    for line in requests:
        speaker.say(answer(json.loads(line), library, answerers))


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
