"""From the scheduler's values to the documents of the wire, as one caller may see them."""

from collections.abc import Iterable, Mapping

from ds01.api import schema
from ds01.daemon.documents import SCHEMA, time_text
from ds01.daemon.order_command import create_command
from ds01.domain.allocation import Allocation, AllocationState
from ds01.domain.reasons.explanation import Blocker, Cause, Counterfactual, Way
from ds01.domain.reasons.why_text import (
    Viewer,
    cause_blockers,
    cause_text,
    cause_until,
    counterfactual_options,
    counterfactual_text,
    kind_of,
    request_text,
)
from ds01.domain.scheduling.booking import Span
from ds01.domain.scheduling.queue import QueueEntry, QueueState
from ds01.domain.scheduling.reservation import Reservation
from ds01.domain.scheduling.situation import Estimate, Situation
from ds01.service.explanations import Explained, ExplainedGpu
from ds01.service.reservations import Timeline

UNKNOWN_ESTIMATE = Estimate(None, is_promise=False, assumption="the GPUs or Docker do not answer", place=0)
_STATES = {QueueState.WAITING: "waiting", QueueState.GRANTED: "starting"}
POLICY_ID = "policy-"


def owner_of(viewer: Viewer, uid: int | None) -> str:
    """Return the name of a user as far as a viewer may know it."""
    return viewer.name_of(uid) if uid is not None and viewer.sees_user(uid) else ""


def group_of(viewer: Viewer, uid: int | None, group: str) -> str:
    """Return the group of a user as far as a viewer may know it."""
    return group if viewer.sees_group(uid) else ""


def estimate_document(estimate: Estimate | None, place: int = 0) -> schema.EstimateDocument:
    """Return an estimate; of a request of which nothing can be said, its place alone."""
    known = estimate or UNKNOWN_ESTIMATE
    return schema.EstimateDocument(
        start_at=time_text(known.start_at),
        is_promise=known.is_promise,
        assumption=known.assumption,
        place=known.place or place,
    )


def request_document(
    entry: QueueEntry,
    estimate: Estimate | None,
    viewer: Viewer,
    *,
    reservations: Mapping[str, str],
    reason: str = "",
    place: int = 0,
) -> schema.RequestDocument:
    """Return a request.

    Args:
        entry: The request.
        estimate: Its place and start; None: not known.
        viewer: Who reads it.
        reservations: Names of reservations by id.
        reason: The first cause.
        place: Its place where the estimate says none.
    """
    waiting = entry.waiting
    is_seen = viewer.sees_user(waiting.uid)
    is_mine = waiting.uid == viewer.uid
    return schema.RequestDocument(
        id=waiting.id,
        owner_uid=waiting.uid if is_seen else None,
        owner=owner_of(viewer, waiting.uid),
        group=group_of(viewer, waiting.uid, waiting.group),
        mine=is_mine,
        container=waiting.container_name if is_seen else "",
        state=_STATES.get(entry.state, "failed"),  # type: ignore[typeddict-item]  # the values above
        gpus=waiting.request.count,
        kind=waiting.request.kind,
        memory_bytes=waiting.request.memory_bytes,
        priority=waiting.priority,
        time_limit_s=waiting.time_limit.total_seconds() if waiting.time_limit is not None else None,
        queued_at=waiting.queued_at.isoformat(timespec="seconds"),
        gives_up_at=time_text(waiting.gives_up_at),
        not_before=time_text(waiting.not_before),
        reservation=reservations.get(waiting.reservation, waiting.reservation) if waiting.reservation else None,
        exclusive=waiting.is_exclusive,
        moved=waiting.moved_to is not None,
        estimate=estimate_document(estimate, place),
        reason=(entry.reason or reason) if is_mine or viewer.is_admin else "",
    )


def why_document(
    explained: Explained, entry: QueueEntry | None, viewer: Viewer, *, reservations: Mapping[str, str]
) -> schema.WhyDocument:
    """Return why a request waits, or what would come of one that was only asked about."""
    explanation = explained.explanation
    waiting = explanation.waiting
    causes = [cause_document(cause, viewer) for cause in explanation.causes]
    what = f"{waiting.container_name or waiting.id} "
    if explanation.grant is not None:
        answer = what + "gets its GPUs now."
    elif not explained.is_queued:
        answer = what + f"cannot have {request_text(waiting.request)} now."
    else:
        answer = what + f"waits for {request_text(waiting.request)}."
    found = explanation.counterfactuals
    return schema.WhyDocument(
        schema_version=SCHEMA,
        subject="request",
        name=waiting.container_name,
        answer=answer,
        blocked=explanation.grant is None,
        request=request_document(entry, explanation.estimate, viewer, reservations=reservations) if entry else None,
        gpu=None,
        causes=causes,
        counterfactuals=[_counterfactual_document(item, explained, viewer, reservations) for item in found],
    )


def cause_document(cause: Cause, viewer: Viewer) -> schema.CauseDocument:
    """Return one cause."""
    return schema.CauseDocument(
        kind=kind_of(cause),
        message=cause_text(cause, viewer, with_holders=False),
        until=time_text(cause_until(cause)),
        holders=[blocker_document(blocker, viewer) for blocker in cause_blockers(cause)],
    )


def blocker_document(blocker: Blocker, viewer: Viewer) -> schema.BlockerDocument:
    """Return who holds a device."""
    is_seen = viewer.sees_user(blocker.uid)
    return schema.BlockerDocument(
        address=blocker.address,
        gpu_uuid=blocker.gpu_uuid,
        profile=blocker.profile,
        owner=owner_of(viewer, blocker.uid),
        group=group_of(viewer, blocker.uid, blocker.group),
        container=blocker.container_name if is_seen else "",
        state=blocker.state,
        since=time_text(blocker.since),
        until=time_text(blocker.free_at),
        idle=None,
        mine=blocker.uid == viewer.uid,
    )


def _counterfactual_document(
    found: Counterfactual, explained: Explained, viewer: Viewer, reservations: Mapping[str, str]
) -> schema.CounterfactualDocument:
    inside = reservations.get(found.waiting.reservation or "", "")
    options = counterfactual_options(found, inside)
    return schema.CounterfactualDocument(
        kind=found.way.value,
        message=counterfactual_text(found, explained.explanation.waiting, viewer),
        start_at=time_text(found.start_at) if found.way is Way.WAIT else None,
        options=options,
        command=_command(found, explained, options) if viewer.uid == found.waiting.uid else "",
    )


def _command(found: Counterfactual, explained: Explained, options: list[str]) -> str:
    """Return what to type, one line: the old request is given up first, because its name is taken."""
    if found.way is Way.WAIT:
        return ""
    if found.way is Way.GIVE_BACK:
        by_id = {grant.id: grant for grant in explained.situation.allocations}
        return " && ".join(_give_back(by_id[item]) for item in found.given_back if item in by_id)
    if explained.order is None:
        return ""  # a start takes the devices and the time that its container was made with
    again = create_command(explained.order, options)
    name = found.waiting.container_name
    return f"ds01 queue cancel {name} -y && {again}" if explained.is_queued else again


def _give_back(grant: Allocation) -> str:
    release = f"ds01 gpu release {grant.container_name} -y"
    return release if grant.state is AllocationState.HELD else f"ds01 stop {grant.container_name} -y && {release}"


def why_gpu_document(found: ExplainedGpu, gpu: schema.GpuDocument | None, viewer: Viewer) -> schema.WhyDocument:
    """Return why a device cannot be granted."""
    explanation = found.explanation
    causes: list[schema.CauseDocument] = []
    if explanation.unusable:
        causes.append(_plain("device", f"it cannot be used: {explanation.unusable}"))
    if explanation.blockers:
        text = "it is shared and full" if explanation.shares > 1 else "it is held"
        holders = [blocker_document(blocker, viewer) for blocker in explanation.blockers]
        until = [holder["until"] for holder in holders]
        last = max((moment for moment in until if moment is not None), default=None)
        causes.append(
            schema.CauseDocument(
                kind="capacity", message=text, until=last if None not in until else None, holders=holders
            )
        )
    causes += [
        schema.CauseDocument(
            kind="reservation",
            message=reservation_text(reservation, viewer),
            until=time_text(reservation.end_at),
            holders=[],
        )
        for reservation in explanation.reservations
    ]
    answer = f"GPU {explanation.gpu} " + ("can be granted now." if explanation.is_free else "cannot be granted now.")
    if explanation.shares > 1:
        answer += f" {explanation.shares} containers may share it, {explanation.free_shares} more may come."
    return schema.WhyDocument(
        schema_version=SCHEMA,
        subject="gpu",
        name=explanation.gpu,
        answer=answer,
        blocked=not explanation.is_free,
        request=None,
        gpu=gpu,
        causes=causes if not explanation.is_free or explanation.shares > 1 else [],
        counterfactuals=[],
    )


def _plain(kind: str, message: str) -> schema.CauseDocument:
    return schema.CauseDocument(kind=kind, message=message, until=None, holders=[])


def reservation_text(reservation: Reservation, viewer: Viewer) -> str:
    """Return what a reservation keeps, for whom, as far as a viewer may know it."""
    owner = owner_of(viewer, reservation.uid) if reservation.uid is not None else ""
    group = (reservation.group or "") if viewer.is_admin or viewer.show_holders != "none" else ""
    whom = f" for {owner}" if owner else f" for the group {group}" if group else ""
    return f"it is kept for a reservation{whom}"


def reservation_document(
    found: Reservation,
    viewer: Viewer,
    *,
    viewer_group: str,
    containers: Iterable[str] = (),
) -> schema.ReservationDocument:
    """Return a reservation. The window and what it keeps always show."""
    is_mine = found.is_for(viewer.uid, viewer_group)
    is_seen = is_mine or found.created_by_uid == viewer.uid or viewer.sees_user(found.uid)
    is_group_seen = is_seen or viewer.show_holders == "groups"
    return schema.ReservationDocument(
        id=found.id,
        name=found.name if is_seen else "",
        owner_uid=found.uid if is_seen else None,
        owner=viewer.name_of(found.uid) if found.uid is not None and is_seen else "",
        group=(found.group or "") if is_group_seen else "",
        mine=is_mine,
        gpus=found.request.count,
        kind=found.request.kind,
        memory_bytes=found.request.memory_bytes,
        start_at=found.start_at.isoformat(timespec="seconds"),
        end_at=found.end_at.isoformat(timespec="seconds"),
        reason=found.reason if is_seen else "",
        created_by=viewer.name_of(found.created_by_uid) if found.created_by_uid is not None and is_seen else "",
        created_at=found.created_at.isoformat(timespec="seconds"),
        state=found.state.value,
        origin="policy" if found.id.startswith(POLICY_ID) else "command",
        containers=list(containers) if is_seen else [],
    )


def timeline_document(found: Timeline, viewer: Viewer, *, viewer_group: str) -> schema.TimelineDocument:
    """Return the timeline: a row for each device, then one for each span that has no device yet."""
    rows: list[schema.TimelineRow] = []
    for uuid, address, label, unusable in _devices(found.situation):
        spans = [span_document(span, viewer, viewer_group) for span in found.spans if span.gpu_uuid == uuid]
        rows.append(
            schema.TimelineRow(
                address=address,
                gpu_uuid=uuid,
                label=label,
                state="unusable" if unusable else "usable",
                reason=unusable,
                spans=spans,
            )
        )
    rows += [_row_without_device(span, viewer, viewer_group) for span in found.spans if span.gpu_uuid is None]
    return schema.TimelineDocument(
        schema_version=SCHEMA,
        now=found.situation.now.isoformat(timespec="seconds"),
        from_at=found.start_at.isoformat(timespec="seconds"),
        to_at=found.end_at.isoformat(timespec="seconds"),
        rows=rows,
    )


def _row_without_device(span: Span, viewer: Viewer, viewer_group: str) -> schema.TimelineRow:
    return schema.TimelineRow(
        address="",
        gpu_uuid="",
        label=f"{span.count} x {span.kind}",
        state="",
        reason="",
        spans=[span_document(span, viewer, viewer_group)],
    )


def _devices(situation: Situation) -> Iterable[tuple[str, str, str, str]]:
    """UUID, address, profile and what is wrong with it, of everything that is granted as it is."""
    for card in situation.board.cards:
        shown = {position.gpu_uuid: position.profile for position in card.positions if position.gpu_uuid}
        instances = [uuid for uuid, _ in card.instances]
        if not instances:
            yield card.uuid, str(card.index), shown.get(card.uuid, ""), card.unusable
        for number, uuid in enumerate(instances):
            yield uuid, f"{card.index}:{number}", shown.get(uuid, ""), card.unusable


def span_document(span: Span, viewer: Viewer, viewer_group: str) -> schema.SpanDocument:
    """Return a span."""
    is_of_group = span.uid is None and bool(span.group) and span.what == "reservation"
    is_mine = span.uid == viewer.uid or (is_of_group and span.group == viewer_group)
    is_seen = is_mine or viewer.sees_user(span.uid)
    kind = "estimate" if span.what == "promise" and not span.is_certain else span.what
    return schema.SpanDocument(
        kind=kind,  # type: ignore[typeddict-item]  # the service's names are the document's
        name=span.name if is_seen else "",
        owner=owner_of(viewer, span.uid),
        group=span.group if is_mine or viewer.sees_group(span.uid) else "",
        mine=is_mine,
        gpus=span.count,
        start_at=span.start_at.isoformat(timespec="seconds"),
        end_at=time_text(span.end_at),
    )
