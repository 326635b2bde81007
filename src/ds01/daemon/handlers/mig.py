"""How cards are cut: for administrators of a server."""

import asyncio

from ds01.api import schema
from ds01.config.document import TextFile
from ds01.config.mig_file import parse_mig_file
from ds01.daemon.call import Call
from ds01.daemon.server import Handler
from ds01.domain.devices.mig_layout import CardPlan, describe
from ds01.errors import ForbiddenError
from ds01.service.mig import MigService

MAX_NAME = 200
DEFAULT_NAME = "layout"
ROOT_UID = 0


class MigHandlers:
    """Answers about layouts."""

    def __init__(self, mig: MigService, *, only_uid: int | None) -> None:
        self._mig = mig
        self._only_uid = only_uid

    def table(self) -> dict[str, Handler]:
        """Return the handlers by route."""
        return {"apply_mig_layout": self.apply_mig_layout}

    async def apply_mig_layout(self, call: Call) -> schema.MigPlanDocument:
        """Apply a layout file, or say what that would do."""
        body = call.document(schema.MigLayoutBody)
        is_dry = body.get("dry_run", False)
        self._require_may(call, is_dry=is_dry)
        file = TextFile(body.get("name", "")[:MAX_NAME] or DEFAULT_NAME, body["text"].encode())
        wanted = await asyncio.to_thread(parse_mig_file, file)
        if is_dry:
            plans = await self._mig.plan(wanted)
        else:
            plans = await self._mig.apply(wanted, actor_uid=call.caller.uid)
        return schema.MigPlanDocument(
            schema_version=schema.SCHEMA_VERSION, applied=not is_dry, cards=[_document(plan) for plan in plans]
        )

    def _require_may(self, call: Call, *, is_dry: bool) -> None:
        is_personal = self._only_uid is not None
        if is_personal and self._only_uid != ROOT_UID and not is_dry:
            raise ForbiddenError(
                "Only root may cut GPUs into MIG instances, and this daemon runs as you.",
                hint="What it would do: ds01 admin mig plan FILE",
            )
        if not (is_personal or call.caller.is_admin):
            raise ForbiddenError(
                "Only an administrator may cut GPUs into MIG instances.", hint="What there is: ds01 gpus"
            )


def _document(plan: CardPlan) -> schema.MigCardDocument:
    return schema.MigCardDocument(
        uuid=plan.card.uuid,
        address=str(plan.card.index),
        model=plan.card.model,
        layout=plan.wanted.layout if plan.wanted.is_mig else "off",
        instances=list(plan.wanted.instances),
        steps=[schema.MigStepDocument(step=describe(step), reason=step.reason) for step in plan.steps],
        blockers=list(plan.blockers),
        needs_reset=plan.needs_reset,
        note=plan.note,
    )
