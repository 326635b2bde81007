"""What a site gives to builds, and how its secrets stay unsaid."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.images.build_site import PROXY_ARGUMENTS, BuildSite, Masker, parse_proxies
from ds01.domain.images.dockerfile_pip import mount_of, with_pip_config
from ds01.errors import InvalidRequestError

PROXIES = "# the lab's\nHTTP_PROXY=http://lab:s3cret%21@proxy.lab:3128\nno_proxy = localhost,.lab\n"


def test_proxies_are_read_and_given_in_both_spellings() -> None:
    site = BuildSite(parse_proxies(PROXIES, "proxies"))
    assert site.arguments["http_proxy"] == site.arguments["HTTP_PROXY"] == "http://lab:s3cret%21@proxy.lab:3128"
    assert site.arguments["NO_PROXY"] == "localhost,.lab"
    assert set(site.arguments) <= PROXY_ARGUMENTS


@pytest.mark.parametrize("line", ["HTTP_PROXY", "PATH=/x", "HTTP_PROXY=", "HTTP_PROXY=a\x07b"])
def test_a_line_that_is_no_proxy_is_named_and_its_value_is_not(line: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_proxies(f"NO_PROXY=x\n{line}\n", "proxies")
    assert caught.value.message == "proxies:2: this is no proxy."


def test_names_and_passwords_are_hidden_as_written_and_as_meant() -> None:
    site = BuildSite(parse_proxies(PROXIES, "proxies"), "[global]\nindex-url = https://me:tok3n@pypi.lab/simple\n")
    said = Masker(site.secrets).whole(
        "ProxyError http://lab:s3cret%21@proxy.lab s3cret! https://me:tok3n@pypi.lab/x tok3n"
    )
    assert said == "ProxyError http://***@proxy.lab *** https://***@pypi.lab/x ***"


SECRETS = st.sets(st.text("ab:", min_size=3, max_size=6), max_size=3)


@given(SECRETS, st.lists(st.text("ab:c\n", max_size=9), max_size=8))
def test_a_secret_is_hidden_wherever_the_text_is_cut(secrets: set[str], pieces: list[str]) -> None:
    masker = Masker(secrets)
    shown = "".join([*(masker.take(piece) for piece in pieces), masker.rest()])
    assert shown == Masker(secrets).whole("".join(pieces))
    assert not any(secret in shown.replace("***", "\0") for secret in secrets)


def test_every_command_sees_pips_configuration_and_nothing_else_changes() -> None:
    text = "FROM a\nRUN pip install \\\n  x\n# RUN no\nCOPY RUN /\n\trun make\nRUN <<EOF\nRUN inside\nEOF\n"
    mount = mount_of("holder:1")
    changed = with_pip_config(text, "holder:1")
    assert changed.replace(f" {mount}", "") == text
    assert changed.count(mount) == 3
    assert "\nRUN inside" in changed


def test_a_command_that_mounts_its_own_configuration_keeps_it() -> None:
    text = "FROM a\nRUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install x\n"
    assert with_pip_config(text, "holder:1") == text
