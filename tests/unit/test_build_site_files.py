"""The files that builds get of a site: found by the policy, trusted only if nobody else can write them."""

from datetime import timedelta
from pathlib import Path

import pytest

from ds01.config import POLICY_NAME, read_policy
from ds01.config.build_site import read_build_site
from ds01.domain.rules.policy import BUILT_IN_LIMITS
from ds01.domain.rules.site import Builds
from ds01.errors import InvalidRequestError


def write(path: Path, text: str | bytes, mode: int = 0o600) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return str(path)


def test_a_policy_names_the_files_and_the_limit(tmp_path: Path) -> None:
    proxies = write(tmp_path / "proxies", "https_proxy=http://u:s3cret@proxy.lab:1\n")
    pip = write(tmp_path / "pip.conf", "[global]\nindex-url = https://pypi.lab/simple\n")
    text = f"version: 2\nbuilds: {{time_limit: 90m, proxy_file: {proxies}, pip_config_file: {pip}}}\n"
    write(tmp_path / POLICY_NAME, text)
    builds = read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS).site.builds
    site = read_build_site(builds, owner_uid=0)
    assert site.time_limit == timedelta(minutes=90)
    assert dict(site.proxies) == {"HTTPS_PROXY": "http://u:s3cret@proxy.lab:1"}
    assert site.pip_config.startswith("[global]")
    assert read_build_site(Builds()).arguments == {}


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        (None, 0, "builds.proxy_file: proxies: the file cannot be read"),
        ("HTTP_PROXY=http://u:s3cret@x\n", 0o666, "builds.proxy_file: proxies: others than root can write"),
        ("a\nb\n", 0o600, "proxies:1: this is no proxy"),
        (b"HTTP_PROXY=x\n\xff\n", 0o600, "proxies:2: the file is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_its_values_are_not(
    tmp_path: Path, text: str | bytes | None, mode: int, word: str
) -> None:
    path = tmp_path / "proxies"
    if text is not None:
        write(path, text, mode)
    with pytest.raises(InvalidRequestError) as caught:
        read_build_site(Builds(proxy_file=str(path)), owner_uid=0)
    assert word in caught.value.message
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint} {caught.value.details}"


@pytest.mark.parametrize("line", ["time_limit: 0", "proxy_file: proxies", "time: 2h", "time_limit: 2"])
def test_a_mistake_in_the_section_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    write(tmp_path / POLICY_NAME, f"version: 2\nbuilds:\n  {line}\n")
    with pytest.raises(InvalidRequestError, match=r"resource-limits\.yaml:3"):
        read_policy(tmp_path / POLICY_NAME, base=BUILT_IN_LIMITS)
