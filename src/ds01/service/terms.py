"""The terms of a grant that its order may set: how long it runs."""

from datetime import timedelta

from ds01.domain.rules.limit import BUILT_IN_ORIGIN, EffectiveLimits
from ds01.errors import InvalidRequestError, QuotaExceededError
from ds01.service.order import CreateOrder
from ds01.units import format_duration

LEAST_TIME = timedelta(minutes=1)


def time_limit_of(order: CreateOrder, limits: EffectiveLimits) -> timedelta | None:
    """Return the running time of a grant: what was asked for, else the policy's; None: without end.

    Raises:
        QuotaExceededError: More is asked for than the policy allows; both are said.
        InvalidRequestError: It is too short to be of any use.
    """
    wanted, highest = order.time_limit, limits.values.time_limit
    if wanted is None:
        return highest
    if wanted < LEAST_TIME:
        raise InvalidRequestError("The time limit must be at least 1 minute.", hint="Use --time 8h, or leave it out.")
    if highest is not None and wanted > highest:
        raise QuotaExceededError(
            f"--time {format_duration(wanted)} is above your limit of {format_duration(highest)} "
            f"(time_limit of group {limits.group}, set by {limits.origins.get('time_limit', BUILT_IN_ORIGIN)}).",
            hint=f"Ask for --time {format_duration(highest)} or less; `ds01 limits` shows what you may use.",
            details={
                "limit": "time_limit",
                "requested": wanted.total_seconds(),
                "allowed": highest.total_seconds(),
            },
        )
    return wanted
