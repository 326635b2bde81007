"""`ds01 admin mig`: how the machine's GPUs are cut into MIG instances."""

from pathlib import Path

from ds01.api.schema import MigCardDocument, MigLayoutBody, MigPlanDocument
from ds01.cli.call import Call
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.spec import ASKING, JSON, Argument, Option, Spec
from ds01.cli.table import Cell, render
from ds01.errors import EXIT_OK, ConflictError, InvalidRequestError, NotFoundError

READ_BYTES = 256 * 1024 + 1
"""One byte more than a file may have: the daemon refuses it with the right words."""


def plan(call: Call) -> int:
    """Show what a layout file would change, and who is in the way."""
    document = call.client.apply_mig_layout(_body(call, dry_run=True))
    return _show(call, document)


def apply(call: Call) -> int:
    """Cut the GPUs as a file says."""
    body = _body(call, dry_run=call.flag("dry_run"))
    if not body.get("dry_run") and call.must_confirm:
        looked_at = call.client.apply_mig_layout({**body, "dry_run": True})
        is_free = not any(card["blockers"] for card in looked_at["cards"])
        if is_free and any(card["steps"] for card in looked_at["cards"]):
            _tell(call, looked_at)
            if not confirm("Change these GPUs?"):
                raise cancelled()
    return _show(call, call.client.apply_mig_layout(body))


def _show(call: Call, document: MigPlanDocument) -> int:
    if call.flag("json"):
        call.screen.document(document)
    else:
        _tell(call, document)
    is_blocked = any(card["blockers"] for card in document["cards"])
    return ConflictError.exit_status if is_blocked else EXIT_OK


def _tell(call: Call, document: MigPlanDocument) -> None:
    rows: list[list[Cell | str]] = []
    for card in document["cards"]:
        rows += [[card["address"], step["step"], Cell(step["reason"], "dim")] for step in card["steps"]]
    if rows:
        call.screen.data(render(call.screen, ["GPU", "STEP", "WHY"], rows))
    for card in document["cards"]:
        for said in _remarks(card, is_applied=document["applied"]):
            call.screen.warn(f"GPU {card['address']}: {said}")
    if not rows:
        call.screen.tell("Nothing to do: the GPUs are as the file says, or wait for what is said above.")
    elif document["applied"]:
        call.screen.success("Done. `ds01 gpus` shows what there is now.")


def _remarks(card: MigCardDocument, *, is_applied: bool) -> list[str]:
    said = [f"in the way: {who}" for who in card["blockers"]]
    if card["needs_reset"]:
        reset = f"nvidia-smi --gpu-reset -i {card['address']}, or a reboot"
        said.append(f"MIG {'changes' if is_applied else 'would change'} with a reset of the GPU ({reset})")
    return [*said, card["note"]] if card["note"] else said


def _body(call: Call, *, dry_run: bool) -> MigLayoutBody:
    path = Path(call.text("path") or "")
    try:
        with path.open("rb") as file:
            raw = file.read(READ_BYTES)
    except FileNotFoundError as failure:
        raise NotFoundError(f"There is no file {path}.", hint="Its form: ds01 admin mig plan --help") from failure
    except OSError as failure:
        raise InvalidRequestError(
            f"{path} cannot be read: {failure.strerror}.", hint=f"Look at it: ls -l {path}"
        ) from failure
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as failure:
        line = raw[: failure.start].count(b"\n") + 1
        raise InvalidRequestError(f"{path.name}:{line}: the file is not UTF-8.", hint="Save it as UTF-8.") from failure
    return MigLayoutBody(text=text, name=path.name, dry_run=dry_run)


_FORM = (
    'The file names GPUs by index or UUID: gpus: {"0": {mig: true, layout: static, instances: [3g.20gb, 1g.5gb]}, '
    '"1": {mig: false}, "2": {mig: true, layout: dynamic}}. GPUs that it does not name stay as they are.'
)
PLAN = Spec(
    plan,
    examples=("ds01 admin mig plan layout.yaml  what would change, and who is in the way (then exit status 8)",),
    details=_FORM,
    arguments=(Argument("path", shown="FILE"),),
    options=(JSON,),
)
APPLY = Spec(
    apply,
    examples=(
        "ds01 admin mig apply layout.yaml  after a look at the plan and a question",
        "ds01 admin mig apply layout.yaml -y  without the question",
    ),
    details=f"{_FORM} Nothing is stopped for it: while somebody uses a GPU, its change is refused.",
    arguments=(Argument("path", shown="FILE"),),
    options=(Option("--dry-run", "Only show the plan."), *ASKING, JSON),
)
