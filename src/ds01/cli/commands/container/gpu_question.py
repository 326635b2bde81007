"""The wizard's question about GPUs: what is free now, what one may hold, and whether to wait."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ds01.api.schema import GpuDocument, LimitsDocument
from ds01.cli.call import Call
from ds01.cli.commands.limits import limit_text
from ds01.cli.prompts import Choice, ask_or_back, pick, pick_or_back
from ds01.units import format_number, format_size

ANY, NONE = "any", "none"
_WAIT, _OTHER = "wait", "other"


@dataclass(frozen=True, slots=True)
class KindOffer:
    """The devices of one kind on this machine.

    Attributes:
        kind: As --gpu-kind takes it.
        label: For people.
        free: How many could be granted now.
        total: How many there are.
    """

    kind: str
    label: str
    free: int
    total: int

    @property
    def line(self) -> str:
        """One line of the list."""
        return f"{self.label}: {self.free} of {self.total} free now"


def offers_of(gpus: Sequence[GpuDocument]) -> list[KindOffer]:
    """Return what there is: all together first if there is more than one kind, then each kind."""
    kinds: dict[str, list[GpuDocument]] = {}
    for gpu in gpus:
        kinds.setdefault(gpu["profile"] or gpu["kind"], []).append(gpu)
    found = [KindOffer(kind, _label(kind, members), _free(members), len(members)) for kind, members in kinds.items()]
    if len(found) > 1:
        found.insert(0, KindOffer(ANY, "any GPU", _free(gpus), len(gpus)))
    return found


def _free(gpus: Sequence[GpuDocument]) -> int:
    return sum(1 for gpu in gpus if gpu["free"])


def _label(kind: str, gpus: Sequence[GpuDocument]) -> str:
    models = ", ".join(dict.fromkeys(gpu["model"] for gpu in gpus))
    sizes = sorted({gpu["memory_bytes"] for gpu in gpus})
    memory = format_size(sizes[0]) if len(sizes) == 1 else f"{format_size(sizes[0])} to {format_size(sizes[-1])}"
    return f"{'whole GPU' if kind == 'full' else f'MIG instance {kind}'} ({models}, {memory})"


def quota_text(limits: LimitsDocument) -> str:
    """Return what one holds and may hold, in a sentence."""
    held, values = limits["usage"], limits["limits"]
    parts = [f"You hold {held['gpus']} of {limit_text('max_gpus', values['max_gpus'])} GPUs"]
    if values["max_gpu_equivalents"]["value"] is not None:
        most = limit_text("max_gpu_equivalents", values["max_gpu_equivalents"])
        parts.append(f"{format_number(held['gpu_equivalents'])} of {most} gpu-equivalents")
    return ", ".join(parts) + "."


def ask_gpus(call: Call, *, is_first: bool) -> Mapping[str, object] | None:
    """Ask which GPUs, how many, and whether to wait for them; None: one step back.

    Raises:
        Ds01Error: The input ended, or the GPUs are unknown.
    """
    limits, offers = call.client.get_limits(), offers_of(call.client.list_gpus()["gpus"])
    call.screen.tell(quota_text(limits))
    choices = [*(Choice(offer.kind, offer.line) for offer in offers), Choice(NONE, "no GPU (CPU only)")]
    default = next((offer.kind for offer in offers if offer.free), offers[0].kind)
    while True:
        kind = pick_or_back(call, "Which GPU?", choices, default=default, is_first=is_first)
        if kind is None:
            return None
        if kind == NONE:
            return {"cpu_only": True}
        offer = next(offer for offer in offers if offer.kind == kind)
        answers = _ask_count(call, offer, _most(limits, offer), is_only=len(offers) == 1)
        if answers is not None:
            return answers
        default = kind


def _most(limits: LimitsDocument, offer: KindOffer) -> int:
    allowed = limits["limits"]["max_gpus"]["value"]
    return min(offer.total, int(allowed)) if isinstance(allowed, int | float) else offer.total


def _ask_count(call: Call, offer: KindOffer, most: int, *, is_only: bool) -> Mapping[str, object] | None:
    count = _count(call, most) if most > 1 else 1
    if count is None:
        return None
    answers: dict[str, object] = {} if is_only or offer.kind == ANY else {"gpu_kind": offer.kind}
    if count > 1:
        answers["gpus"] = count
    if count <= offer.free or call.text("wait") is not None or call.text("at") is not None:
        return answers
    waiting = [Choice(_WAIT, "wait in the queue until they are free"), Choice(_OTHER, "choose others")]
    free = "None is" if not offer.free else f"Only {offer.free} {'is' if offer.free == 1 else 'are'}"
    return {**answers, "wait": ""} if pick(call, f"{free} free now.", waiting) == _WAIT else None


def _count(call: Call, most: int) -> int | None:
    while True:
        text = ask_or_back(f"How many, 1 to {most}?", "1")
        if text is None:
            return None
        if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
            return int(text)
        call.screen.tell(f"Write a number from 1 to {most}; what you may hold is shown by ds01 limits.")
