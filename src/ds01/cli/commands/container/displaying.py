"""`--x11`: the user's display for the programs that they run in a container, as long as the command runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from ds01.api.schema import ContainerDetailsDocument, ExecBody
from ds01.cli.call import Call
from ds01.cli.display import KEY_NAME, SOCKET_NAME, SharedDisplay, shared_display
from ds01.cli.display_address import find_display, key_for
from ds01.cli.spec import Option
from ds01.client.frames import STDERR, FrameReader
from ds01.errors import ConflictError, Ds01Error

X11 = Option("--x11", "Share your own display with it, where the policy allows that.")
_FIRST_NUMBER = 100
_LAST_NUMBER = 199
_WORKSPACE = "/workspace"
# Programs look for a display there by its number; the link leads to the socket in the workspace.
_LINK = (
    'umask 0; mkdir -p -m 1777 /tmp/.X11-unix; n=$2; until ln -s "$1" "/tmp/.X11-unix/X$n" 2>/dev/null; '
    'do n=$((n+1)); [ "$n" -le "$3" ] || { echo "no display number is free" >&2; exit 1; }; done; echo "$n"'
)
_UNLINK = '[ "$(readlink "/tmp/.X11-unix/X$2")" = "$1" ] && rm -f "/tmp/.X11-unix/X$2"'


@contextmanager
def sharing(call: Call, name: str, container: ContainerDetailsDocument) -> Iterator[Mapping[str, str]]:
    """Share the display for the block where it is wanted; yields the variables by which programs find it.

    Args:
        call: The call; its `--x11` counts, and what the container was created with.
        name: The container.
        container: The same as a document; it runs.

    Raises:
        InvalidRequestError: --x11 was typed, and there is no display here.
        ForbiddenError: The policy does not allow it.
        ConflictError: The display does not answer, or the container has no workspace of this user.
    """
    if not call.flag("x11") and not container["x11"]:
        yield {}
        return
    if not call.flag("x11") and not call.environment.get("DISPLAY"):
        call.screen.note(f"You have no display here, so {name} has none now.")
        yield {}
        return
    display = find_display(call.environment)
    workspace = container["workspace"]
    if workspace is None:
        raise ConflictError(
            f"{name} has no workspace, so it cannot reach your display.", hint="Create it with a workspace."
        )
    with shared_display(workspace, display, key_for(display, call.environment)) as shared:
        target = f"{_WORKSPACE}/{shared.folder}/{SOCKET_NAME}"
        number = _run(call, name, _LINK, (target, str(_FIRST_NUMBER), str(_LAST_NUMBER))).strip()
        try:
            yield _variables(shared, number)
        finally:
            with suppress(Ds01Error):  # it may have been stopped meanwhile
                _run(call, name, _UNLINK, (target, number))


def _variables(shared: SharedDisplay, number: str) -> dict[str, str]:
    found = {"DISPLAY": f":{number}"}
    if shared.has_key:
        found["XAUTHORITY"] = f"{_WORKSPACE}/{shared.folder}/{KEY_NAME}"
    return found


def _run(call: Call, name: str, script: str, words: Sequence[str]) -> str:
    """Run a script in the container and return what it says; what it complains of is an error."""
    body: ExecBody = {"command": ["sh", "-c", script, "ds01", *words], "x11": True}
    stream = call.client.start_exec(call.client.create_exec(name, body)["exec_id"])
    reader, said, complaint = FrameReader(), b"", b""
    try:
        stream.close_sending()
        while data := stream.receive():
            for kind, piece in reader.feed(data):
                said, complaint = (said, complaint + piece) if kind == STDERR else (said + piece, complaint)
    finally:
        stream.close()
    if complaint:
        raise ConflictError(f"{name} cannot be given a display: {complaint.decode(errors='replace').strip()[:200]}")
    return said.decode(errors="replace")
