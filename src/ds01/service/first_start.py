"""The first start of an image with a user: is the user inside who they shall be?

It is asked once for each (image id, uid) and remembered: wrong accounts were the predecessors' most common failure, and
they failed silently.
"""

from datetime import timedelta

from ds01.domain import label
from ds01.domain.containers.container import ContainerDetails
from ds01.domain.containers.pid1 import is_our_entrypoint
from ds01.domain.user import handle
from ds01.errors import BackendError, Ds01Error
from ds01.service.fact import FactKind
from ds01.service.ports import Engine, ExecResult, ExecSpec, Store

CHECKED = FactKind("first-start", places=4096)
QUESTION = (
    "command -v id >/dev/null || exit 127; id -u; id -g; id -un; "
    "if [ -e /etc/sudoers.d/ds01 ]; then sudo -n true 2>&1 && echo sudo-ok; else echo sudo-none; fi"
)
"""Asked by the shell inside; 127: it has no `id` and cannot answer."""
_CANNOT_ANSWER = 127
_DEADLINE = timedelta(seconds=20)


class FirstStartCheck:
    """Asks a container that has just started."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._store = store

    async def check(self, details: ContainerDetails) -> list[str]:
        """Return warnings; only containers that DS01 made from an image with a shell are asked.

        Raises:
            BackendError: The user inside is somebody else. The container is stopped.
        """
        is_ours = label.is_ours(details.labels) and is_our_entrypoint(details.entrypoint)
        if not is_ours or not details.user.partition(":")[0].isdigit():
            return []  # labels can be forged, and then the rest is not as we make it
        subject = f"{details.image_id} {details.user}"
        if await self._store.read(lambda transaction: CHECKED.recall(transaction, subject)) is not None:
            return []
        try:
            result = await self._engine.run_exec(
                details.id, ExecSpec(("sh", "-c", QUESTION), user=details.user), deadline=_DEADLINE
            )
        except Ds01Error as failure:
            return [f"Who the user is inside could not be checked: {failure.message}"]
        wrong = [] if result.exit_code == _CANNOT_ANSWER else _wrong(details, result)
        if wrong:
            await self._engine.stop_container(details.id, grace=timedelta(seconds=1))
            raise BackendError(
                f"The user inside is not set up as it should be: {'; '.join(wrong)}. The container was stopped.",
                hint="Tell your administrator the image's name; another may work: `ds01 create --image REF`.",
            )
        await self._store.write(lambda transaction: CHECKED.remember(transaction, subject, "ok"))
        return []


def _wrong(details: ContainerDetails, result: ExecResult) -> list[str]:
    lines = [*result.stdout.split("\n"), "", "", ""]
    uid, _, gid = details.user.partition(":")
    wrong = [
        f"{what} is {got!r} instead of {wanted!r}"
        for what, got, wanted in (("uid", lines[0], uid), ("gid", lines[1], gid))
        if got != wanted
    ]
    names = _possible_names(int(uid), details.labels.get(label.USER, ""))
    if lines[2] not in names:
        wrong.append(f"name is {lines[2]!r} instead of {names[0]!r}")
    if not {"sudo-ok", "sudo-none"} & set(lines):
        wrong.append("sudo does not work: " + " ".join(lines[3:]).strip())
    return wrong


def _possible_names(uid: int, login: str) -> tuple[str, ...]:
    """The names that `domain.account` gives; not $USER, which the owner may have set to anything."""
    if uid == 0:
        return ("root",)
    wanted = handle(uid, login)
    return (wanted, f"u{wanted}", f"u{uid}")
