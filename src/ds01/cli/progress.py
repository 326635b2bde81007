"""The progress of a creation or a pull: steps as dim lines, all layers of a pull as one line that changes."""

from collections.abc import Iterator

from ds01.api.schema import CreatedContainer, ProgressMessage
from ds01.cli.call import Call
from ds01.errors import DaemonUnreachableError
from ds01.units import format_size


class PullProgress:
    """Adds up what is known about the layers of an image."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int | None]] = {}
        self._status = ""

    def add(self, message: ProgressMessage) -> None:
        """Take one message about a layer, or about the pull as a whole."""
        layer = message.get("layer", "")
        self._status = message.get("message", "")
        if layer:
            known = self._layers.get(layer, (0, None))
            current, total = message.get("current_bytes"), message.get("total_bytes")
            self._layers[layer] = (known[0] if current is None else current, known[1] if total is None else total)

    def text(self) -> str:
        """Return one line: layers that are here, bytes that are here."""
        sized = [(current, total) for current, total in self._layers.values() if total]
        if not sized:
            return f"Pulling: {self._status or 'asking the registry'}"
        here = sum(min(current, total) for current, total in sized)
        whole = sum(total for _, total in sized)
        ready = sum(1 for current, total in sized if current >= total)
        return f"Pulling: {ready} of {len(self._layers)} layers, {_rounded(here)} of {_rounded(whole)}"


UNDONE = "Cancelled: what was made is being undone."


def follow(call: Call, messages: Iterator[ProgressMessage], *, cancelled: str = UNDONE) -> CreatedContainer:
    """Show the progress of a creation and return its result.

    Args:
        call: The command.
        messages: What the daemon says.
        cancelled: What a person is told who presses Ctrl-C.

    Raises:
        Ds01Error: The creation failed.
        KeyboardInterrupt: The person pressed Ctrl-C.
    """
    result = follow_to_result(call, messages, cancelled=cancelled).get("result")
    if result is None:
        raise DaemonUnreachableError(
            "ds01d did not say how the creation ended.", hint=f"Look with {call.command('list')}"
        )
    return result


def follow_to_result(call: Call, messages: Iterator[ProgressMessage], *, cancelled: str) -> ProgressMessage:
    """Show the progress of a long request and return its last message.

    Args:
        call: The command.
        messages: What the daemon says.
        cancelled: What a person is told who presses Ctrl-C.

    Raises:
        Ds01Error: The request failed.
        KeyboardInterrupt: The person pressed Ctrl-C.
    """
    pull = PullProgress()
    last: ProgressMessage = {"kind": "step"}
    try:
        for last in messages:
            if last["kind"] == "result":
                break
            _show(call, last, pull)
    except KeyboardInterrupt:
        call.screen.end_update()
        call.screen.tell(cancelled)
        raise
    finally:
        call.screen.end_update()
    return last


def _show(call: Call, message: ProgressMessage, pull: PullProgress) -> None:
    text = message.get("message", "")
    if message["kind"] == "pull":
        pull.add(message)
        call.screen.update(pull.text())
    elif call.screen.error_is_terminal:
        call.screen.end_update()
        call.screen.note(text)
    elif call.flag("verbose"):
        call.screen.tell(text)


def _rounded(size_bytes: int) -> str:
    return "0" if not size_bytes else format_size(size_bytes if size_bytes < 1024 else size_bytes // 1024 * 1024)
