"""What the engine writes into a program's output when the program cannot be started, told apart from what it says."""

import re
from dataclasses import dataclass

NOT_RUNNABLE = 126
NOT_FOUND = 127
MAX_BYTES = 4096
_BEGINNING = b"OCI runtime exec failed: "
_FOLDER = re.compile(r'chdir to cwd \("(?P<folder>[^"]*)"\)')


class StartFailure:
    """Holds back an output as long as it is one line of the engine's and nothing else.

    Source: Docker Engine API 1.41 to 1.47, POST /exec/{id}/start: the stream has begun by then, so the engine writes
    its error into it as if the program had said it. Before 23 it gives 126 as the exit status whatever the reason is.
    """

    def __init__(self) -> None:
        self._held = b""
        self._may_be_one = True

    def pass_on(self, output: bytes) -> bytes:
        """Return what is to be shown of this and of what was held back."""
        if not self._may_be_one:
            return output
        self._held += output
        # its beginning comes in one piece: a letter that a program says and then waits is shown at once
        begins = self._held.startswith(_BEGINNING)
        self._may_be_one = begins and b"\n" not in self._held[:-1] and len(self._held) <= MAX_BYTES
        return b"" if self._may_be_one else self.give_up()

    def give_up(self) -> bytes:
        """Return what was held back: the program said it after all."""
        held, self._held = self._held, b""
        return held

    def reason(self) -> str:
        """Return the engine's reason; empty when nothing of that kind was said."""
        if not self._held.startswith(_BEGINNING):
            return ""
        text = self._held.removeprefix(_BEGINNING).decode("utf-8", "replace")
        return text.strip().removesuffix(": unknown")


@dataclass(frozen=True)
class Refusal:
    """Why a program could not be started.

    Attributes:
        status: Exit status, as docker run and shells have it.
        message: What happened.
        program_is_absent: It is not in any folder of PATH.
        absent_folder: The working directory that is not there; empty if that is not the reason.
    """

    status: int
    message: str
    program_is_absent: bool = False
    absent_folder: str = ""


def read_refusal(reason: str, program: str, name: str) -> Refusal:
    """Return what the engine's reason means for a program in a container."""
    cause = reason.rpartition(": ")[2]
    is_missing = cause == "no such file or directory"
    folder = _FOLDER.search(reason)
    if folder is not None and is_missing:
        message = f"There is no folder {folder['folder']} in {name}."
        return Refusal(NOT_RUNNABLE, message, absent_folder=folder["folder"])
    if cause.startswith("executable file not found"):
        return Refusal(NOT_FOUND, f"There is no program {program} in {name}.", program_is_absent=True)
    return Refusal(NOT_FOUND if is_missing else NOT_RUNNABLE, f"{program} cannot be run in {name}: {cause}.")
