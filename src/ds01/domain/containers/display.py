"""Whether a container may share its owner's display (X11). Who may draw may also watch what is typed."""

from ds01.domain.rules.limit import EffectiveLimits
from ds01.errors import ForbiddenError

X11 = "x11"
"""Member of the policy's `devices` that allows it."""


def require_display_allowed(limits: EffectiveLimits) -> None:
    """Raise if the policy lets this user's containers share no display.

    Raises:
        ForbiddenError: It says which setting decides.
    """
    if X11 not in limits.values.devices:
        raise ForbiddenError(
            f"Your containers may not share your display (devices without {X11}, "
            f"set by {limits.origins.get('devices', 'built-in')}).",
            hint=f"Leave --x11 out, or ask for devices: [{X11}] in the policy.",
        )
