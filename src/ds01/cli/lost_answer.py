"""What became of a creation whose answer never came: the daemon died, and its next one knows."""

import time

from ds01.cli.call import Call
from ds01.errors import DaemonUnreachableError, Ds01Error, NotFoundError

RETURN_S = 10.0
"""A supervisor starts the daemon anew at once; nobody waits for long."""
_PAUSE_S = 0.25


def tell_what_became(call: Call, name: str, lost: DaemonUnreachableError, *, patience_s: float = RETURN_S) -> bool:
    """Say in the error which of the two states is there: the container, or nothing of it.

    Args:
        call: The command.
        name: The container that was to be made.
        lost: The error; its hint and its detail `was_made` say it afterwards.
        patience_s: How long the daemon may take to come back.

    Returns:
        Whether there may be a container: what it needs must stay. Unknown is never no.
    """
    call.screen.note(f"ds01d is gone. Waiting for its return, to see what became of {name}.")
    try:
        was_made = _find_out(call, name, patience_s)
    except KeyboardInterrupt:  # whoever does not want to wait has not said that it was not made
        was_made = None
    lost.details["was_made"] = was_made
    if was_made:
        lost.hint = f"{name} was made all the same: {call.command('open', name)}"
    elif was_made is None:
        lost.hint = f"Whether {name} was made is unknown: look with `ds01 list` when ds01d is back."
    else:
        lost.hint = f"Nothing of {name} was made. Try again."
    return was_made is not False


def _find_out(call: Call, name: str, patience_s: float) -> bool | None:
    """Ask until somebody knows; None: nobody does."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            # one that is not in the books yet is half-made, and about to be taken back
            if call.client.get_container(name)["managed"]:
                return True
        except NotFoundError:
            return False
        except Ds01Error:
            pass  # it is not back yet, or the engine is not
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE_S)
