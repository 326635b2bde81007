"""`ds01 container adopt` and `ds01 admin adopt`: a container that others made comes under management."""

import pwd

from ds01.api.schema import AdoptedContainer, ContainerDocument
from ds01.cli.call import Call
from ds01.cli.prompts import cancelled, confirm
from ds01.cli.selection import naming, one_name
from ds01.cli.spec import ASKING, DRY_RUN, JSON, NAME, Option, Spec
from ds01.errors import InvalidRequestError, NotFoundError


def adopt(call: Call) -> int:
    """Adopt a container of the caller's."""
    name = one_name(call, "adopt", fits=_is_unmanaged, kind="unmanaged")
    with naming(call, name):
        return _adopt(call, name, None)


def adopt_for(call: Call) -> int:
    """Adopt a container for a user."""
    name, user = call.text("name"), call.text("user")
    if name is None or user is None:
        what = "NAME" if name is None else "--user"
        raise InvalidRequestError(
            f"{what} is missing.", hint="Write ds01 admin adopt NAME --user USER; ds01 list -a shows all."
        )
    return _adopt(call, name, uid_of(user))


def _is_unmanaged(container: ContainerDocument) -> bool:
    return not container["managed"]


def uid_of(user: str) -> int:
    """Return the uid of a login name, or of a number that is none.

    Raises:
        NotFoundError: This machine has no such account.
    """
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as failure:
        if user.isascii() and user.isdigit():
            return int(user)
        raise NotFoundError(
            f"There is no user {user!r} on this machine.", hint="Write a login name or a number."
        ) from failure


def _adopt(call: Call, name: str, uid: int | None) -> int:
    is_dry = call.flag("dry_run")
    if call.must_confirm and not is_dry:
        plan = call.client.adopt_container(name, {"dry_run": True}, uid=uid)
        if not plan["was_managed"] and not confirm(_question(name, plan)):
            raise cancelled()
    outcome = call.client.adopt_container(name, {"dry_run": is_dry}, uid=uid)
    if call.flag("json"):
        call.screen.document(outcome)
        return 0
    for warning in outcome["warnings"]:
        call.screen.warn(warning)
    if is_dry:
        state = "is managed already" if outcome["was_managed"] else "would be adopted"
        call.screen.tell(f"{name} {state}: {'; '.join(outcome['reasons'])}.")
        if outcome["docker_command"]:
            call.screen.data(outcome["docker_command"])
    elif outcome["was_managed"]:
        call.done(f"{name} was managed already.", name)
    else:
        call.done(f"Adopted {name}: {'; '.join(outcome['reasons'])}.", name)
        call.screen.suggest(call.command("inspect", name))
    return 0


def _question(name: str, plan: AdoptedContainer) -> str:
    limits = f"\nThis sets its limits: {plan['docker_command']}" if plan["docker_command"] else ""
    return f"{name} of {plan['container']['owner']}: {'; '.join(plan['reasons'])}.{limits}\nAdopt it?"


_DETAILS = (
    "Nothing automatic touches a container before it is adopted. Its GPUs are booked, its limits are set where that is "
    "possible while it exists, and its clocks start now. It is not changed otherwise."
)
ADOPT = Spec(
    adopt,
    examples=(
        "ds01 container adopt my-project  take over what mlc or docker made for you",
        "ds01 container adopt my-project --dry-run  only say what that would do",
    ),
    details=_DETAILS,
    arguments=(NAME,),
    options=(DRY_RUN, JSON, *ASKING),
)
ADOPT_FOR = Spec(
    adopt_for,
    examples=("ds01 admin adopt web --user alice  give a container an owner and take it over",),
    details=_DETAILS,
    arguments=(NAME,),
    options=(
        Option("--user", "Who owns it: a login name or a number.", kind="text", metavar="USER"),
        DRY_RUN,
        JSON,
        *ASKING,
    ),
)
