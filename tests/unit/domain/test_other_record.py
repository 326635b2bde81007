"""Packages of tools that no section of a Dockerfile has are said in words, and what is not known is said to be."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.other_record import (
    APK_LISTS,
    APK_WORLD,
    MAX_NAMED,
    RPM_LISTS,
    describe_change,
    other_records,
    paths_of,
)

LIST = APK_LISTS[0]


def apk(*names: str, world: str | None = None, record: str = LIST) -> dict[str, str]:
    text = "\n".join(f"C:Q1abc\nP:{name}\nV:1.0-r0\nD:so:libc.musl\nF:etc\n" for name in names)
    return {record: text} | ({} if world is None else {APK_WORLD: world})


def test_what_apk_was_asked_for_is_a_line_to_copy_and_what_that_brought_is_not() -> None:
    before = apk("musl", "git", world="git\n")
    after = apk("musl", "vim", "ripgrep", "pcre2", world="vim>9\nripgrep\n")
    tool, text = describe_change(LIST, before, after)
    assert tool == "apk"
    assert text.endswith("RUN apk add --no-cache ripgrep vim; RUN apk del git")


@pytest.mark.parametrize("record", APK_LISTS)
def test_without_a_list_of_what_was_asked_for_every_package_is_named(record: str) -> None:
    _, text = describe_change(record, apk("musl", record=record), apk("musl", "a", "b", record=record))
    assert text.endswith("RUN apk add --no-cache a b")


def test_newer_versions_alone_are_no_lines() -> None:
    _, text = describe_change(LIST, apk("musl"), apk("musl"))
    assert "other versions" in text


@pytest.mark.parametrize(("image", "container"), [(None, apk("a")), (apk("a"), {})])
def test_a_list_that_cannot_be_compared_is_unknown_and_not_empty(
    image: dict[str, str] | None, container: dict[str, str]
) -> None:
    assert "not known" in describe_change(LIST, image, container)[1]


@pytest.mark.parametrize("record", RPM_LISTS)
def test_of_rpm_it_is_said_that_only_rpm_can_read_its_list(record: str) -> None:
    assert paths_of(record) == ()
    tool, text = describe_change(record, {}, {})
    assert (tool, "rpm -qa" in text, "not known" in text) == ("dnf", True, True)


def test_each_tool_is_named_once() -> None:
    assert other_records({*APK_LISTS, *RPM_LISTS, "/etc/passwd"}) == (APK_LISTS[0], RPM_LISTS[0])
    assert other_records({APK_WORLD}) == ()


NAMES = st.sets(st.from_regex(r"[a-z][a-z0-9.+-]{0,8}", fullmatch=True), max_size=MAX_NAMED)


@given(NAMES, NAMES)
def test_the_lines_are_exactly_the_difference(before: set[str], after: set[str]) -> None:
    _, text = describe_change(LIST, apk(*before), apk(*after))
    added = text.partition("apk add --no-cache ")[2].partition(";")[0].split()
    removed = text.partition("apk del ")[2].split()
    assert (added, removed) == (sorted(after - before), sorted(before - after))


def test_a_long_list_says_how_much_is_left_out() -> None:
    _, text = describe_change(LIST, apk(), apk(*(f"p{number:03}" for number in range(MAX_NAMED + 2))))
    assert text.endswith(f"p{MAX_NAMED - 1:03} (and 2 more)")
