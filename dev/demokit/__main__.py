"""`make demo`: from nothing to a container with a GPU, and back to nothing.

Prints each command before it runs, checks what each really did, and exits with 0 only if every check held. Everything
it starts is its own and is gone at the end: a container engine in a network namespace of its own, a daemon with its
state in a temporary folder. The GPUs are pretended, and so it shows the same on every machine.
"""

import os
import sys

from dev.demokit.stage import Stage, StepFailedError, open_stage
from dev.demokit.steps import play


def main() -> int:
    """Play the demonstration and return the exit status."""
    if os.geteuid() != 0:
        sys.stderr.write(
            "make demo starts a container engine of its own, which needs root: sudo make demo\n"
            "(Nothing is installed. `make test` runs without root and skips what needs an engine.)\n"
        )
        return 1
    try:
        with open_stage() as stage:
            play(stage)
    except StepFailedError as failure:
        sys.stderr.write(f"\nThe demonstration failed: {failure}\n")
        return 1
    return _report(stage)


def _report(stage: Stage) -> int:
    leftovers = stage.leftovers()
    for leftover in leftovers:
        sys.stderr.write(f"left behind: {leftover}\n")
    if leftovers:
        return 1
    sys.stdout.write(f"\nEverything worked: {stage.verified} checks held, and nothing is left behind.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
