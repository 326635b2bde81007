"""Names in a policy, matched to accounts: whom they mean, who is named twice, who is nobody."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from ds01.domain.rules.policy import UID_PREFIX, Policy, PolicyGroup, PolicyWarning

FindUid = Callable[[str], int | None]
"""Returns the number of a login name; None: there is no such account."""


def named_accounts(policy: Policy) -> tuple[str, ...]:
    """Return every login name that the policy holds, in file order."""
    texts = [text for group in policy.groups for text in (*group.members, *group.file_members)]
    found = dict.fromkeys(text for text in (*texts, *policy.overrides) if not text.startswith(("@", UID_PREFIX)))
    return tuple(found)


def resolve(policy: Policy, find_uid: FindUid) -> Policy:
    """Return the policy with the number of every name, and warnings about names that need a look.

    Args:
        policy: As it was read.
        find_uid: Asks the account database; what it raises passes through.
    """
    found = {name: find_uid(name) for name in named_accounts(policy)}
    uids = {name: uid for name, uid in found.items() if uid is not None}
    missing = [name for name, uid in found.items() if uid is None]
    warnings = [*_nobody(policy, missing), *_named_twice(policy, uids), *_overridden_twice(policy, uids)]
    return replace(policy, uids=uids, warnings=(*policy.warnings, *warnings))


def _nobody(policy: Policy, names: list[str]) -> Iterator[PolicyWarning]:
    origins = {name: override.origin for name, override in policy.overrides.items()}
    for group in reversed(policy.groups):
        origins.update(group.member_origins)
    for name in names:
        where = origins.get(name, policy.source)
        yield PolicyWarning(where, f"there is no account {name!r} now.", "It counts as soon as there is one.")


def _named_twice(policy: Policy, uids: dict[str, int]) -> Iterator[PolicyWarning]:
    """A person in two groups is in the first."""
    first: dict[str | int, tuple[str, PolicyGroup]] = {}
    for is_file in (False, True):
        for group in policy.groups:
            for text in group.file_members if is_file else group.members:
                key = _key(text, uids)
                text_before, group_before = first.setdefault(key, (text, group))
                if group_before.name != group.name:
                    where = group.member_origins.get(text, policy.source)
                    before = group_before.member_origins.get(text_before, policy.source)
                    yield PolicyWarning(
                        where,
                        f"{text!r} is in the group {group_before.name!r} already ({before}), which wins.",
                        f"Remove one of both: {before} or {where}.",
                    )


def _overridden_twice(policy: Policy, uids: dict[str, int]) -> Iterator[PolicyWarning]:
    first: dict[str | int, str] = {}
    numbers_first = sorted(policy.overrides, key=lambda text: not text.startswith(UID_PREFIX))
    for text in numbers_first:
        before = first.setdefault(_key(text, uids), text)
        if before != text:
            yield PolicyWarning(
                policy.overrides[text].origin,
                f"user_overrides: {text!r} and {before!r} are one user; {before!r} wins.",
                "Write both in one place.",
            )


def _key(text: str, uids: dict[str, int]) -> str | int:
    if text.startswith(UID_PREFIX):
        return int(text.removeprefix(UID_PREFIX))
    return uids.get(text, text)
