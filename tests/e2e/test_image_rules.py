"""The site's rules about images on a real engine: registries, images of others, proxies, pip, time, and stopping."""

import json
import shlex
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.site import BUSYBOX, PATIENCE_S, POLICY, Site, replace_file, wait_until

PASSWORD = "s3cret-of-the-site"
PROXY = f"http://lab:{PASSWORD}@127.0.0.1:9"
TOKEN = "t0ken-of-the-site"
PIP = f"[global]\nindex-url = https://me:{TOKEN}@127.0.0.1:9/simple\n"


def write(site: Site, name: str, text: str, user: str = "alice") -> str:
    """Put a Dockerfile into a folder of a user and return its path."""
    account = site.accounts[user]
    folder = account.home / "builds" / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Dockerfile"
    path.write_text(text, encoding="utf-8")
    return str(path)


def remove_own(site: Site) -> None:
    for tag in site.images():
        if tag.startswith("ds01.invalid/u"):
            site.engine.try_docker("rmi", "--force", tag)


def remove_folders(site: Site) -> None:
    for account in site.accounts.values():
        shutil.rmtree(account.home / "builds", ignore_errors=True)


@pytest.fixture
def clean(site: Site) -> Iterator[Site]:
    remove_own(site)
    yield site
    remove_own(site)
    remove_folders(site)


@pytest.fixture
def ruled(own_site: Site) -> Iterator[Site]:
    """A site whose policy the test writes before it starts."""
    remove_own(own_site)
    yield own_site
    remove_own(own_site)
    remove_folders(own_site)


def own(site: Site, name: str, user: str = "alice") -> str:
    return f"ds01.invalid/u{site.accounts[user].uid}/{name}"


def test_nobody_builds_runs_or_looks_into_the_image_of_another(clean: Site) -> None:
    clean.run(
        "image",
        "build",
        write(clean, "theirs", f"FROM {BUSYBOX}\nRUN echo bobs > /secret\n", "bob"),
        "-t",
        "theirs",
        user="bob",
    )
    bobs = own(clean, "theirs", "bob")
    identifier = clean.engine.docker("images", "--no-trunc", "--quiet", bobs).split()[0]
    assert clean.run("image", "inspect", "theirs", user="bob").stdout
    for reference in (bobs, identifier, identifier.removeprefix("sha256:")[:16]):
        for name, text in {
            "from": f"FROM {reference}\n",
            "argument": f"ARG BASE={reference}\nFROM $BASE\n",
            "copy": f"FROM {BUSYBOX}\nCOPY --from={reference} /secret /\n",
            "mount": f"FROM {BUSYBOX}\nRUN --mount=type=bind,from={reference},target=/x cat /x/secret\n",
        }.items():
            refused = clean.run("image", "build", write(clean, name, text), "-t", name, check=False)
            assert refused.status == 3, (reference, name, refused)
            assert "you may use" in refused.stderr
            assert "bobs" not in refused.stdout + refused.stderr
        assert clean.run("create", "demo", "--image", reference, "--cpu-only", check=False).status == 3
        assert clean.run("image", "packages", reference, check=False).status == 3
        assert clean.run("image", "pull", reference, check=False).status in {2, 3}
    assert not clean.containers()
    assert not [tag for tag in clean.images() if tag.startswith(own(clean, ""))]


def test_what_hides_in_the_context_is_not_what_is_built(clean: Site) -> None:
    path = Path(write(clean, "linked", f"FROM {BUSYBOX}\nCOPY . /here\nRUN echo judged > /which\n"))
    folder = path.parent
    (folder / "up").symlink_to(".")
    (folder / "Dockerfile.ds01-build").write_text(f"FROM {BUSYBOX}\nRUN echo other > /which\n", encoding="utf-8")
    refused = clean.run("image", "build", str(path), "-t", "linked", check=False)
    assert refused.status == 2
    (folder / "Dockerfile.ds01-build").unlink()
    clean.run("image", "build", str(path), "-t", "linked")
    assert clean.engine.docker("run", "--rm", own(clean, "linked"), "cat", "/which") == "judged\n"


def test_registries_of_the_policy_hold_for_pulls_containers_and_every_line_of_a_build(ruled: Site) -> None:
    ruled.write_policy(POLICY + "access: {registries: [registry.lab]}\n")
    ruled.start()
    for words in (
        ("image", "pull", "ghcr.io/lab/base"),
        ("create", "demo", "--image", "ghcr.io/lab/base", "--cpu-only"),
        ("create", "demo", "--image", "ghcr.io/lab/base", "--cpu-only", "--dry-run"),
        ("run", "demo", "--image", "ghcr.io/lab/base", "--cpu-only", "--", "true"),
    ):
        refused = ruled.run(*words, check=False)
        assert refused.status in {4, 125}, (words, refused)
        assert "ghcr.io/lab/base comes from ghcr.io" in refused.stderr
        assert f"access.registries in resource-limits.yaml:{POLICY.count(chr(10)) + 1}" in refused.stderr
    for name, text in {
        "from": "FROM ghcr.io/lab/base\n",
        "argument": "ARG HOST=ghcr.io\nFROM ${HOST}/lab/base\n",
        "stages": f"FROM {BUSYBOX} AS one\nFROM ghcr.io/lab/base\nCOPY --from=one / /\n",
        "copy": f"FROM {BUSYBOX}\nRUN touch /begun\nCOPY --from=ghcr.io/lab/base / /\n",
        "mount": f"FROM {BUSYBOX}\nRUN --mount=type=bind,from=ghcr.io/lab/base,target=/x true\n",
        "frontend": f"# syntax=docker/dockerfile:1\nFROM {BUSYBOX}\n",
    }.items():
        refused = ruled.run("image", "build", write(ruled, name, text), "-t", name, check=False)
        assert refused.status == 4, (name, refused)
        assert "Line " in refused.stderr
        assert "access.registries" in refused.stderr
        assert "Step" not in refused.stdout + refused.stderr
    ruled.run("image", "build", write(ruled, "here", f"FROM {BUSYBOX}\n"), "-t", "here")
    ruled.run("create", "demo", "--image", "here", "--cpu-only")
    for name, named in {"one": ["here"], "two": ["--image", "here-alice"], "three": ["here-alice"]}.items():
        ruled.run("create", name, *named, "--cpu-only")
        assert ruled.inspect(name)["Image"] == ruled.run("image", "inspect", "here-alice", "--json").document["id"]
    bases = ruled.run("image", "inspect", "here", "--json").document["bases"]
    identifier = ruled.engine.docker("images", "--no-trunc", "--quiet", BUSYBOX).split()[0]
    assert bases == [f"{BUSYBOX}={identifier}"]
    events = ruled.run("events", "--json").stdout
    assert identifier in events


@pytest.mark.parametrize("builder", ["classic", "buildkit"])
def test_proxies_and_pips_configuration_reach_the_steps_and_stay_in_no_image(ruled: Site, builder: str) -> None:
    proxies, pip = ruled.config / "proxies", ruled.config / "pip.conf"
    proxies.write_text(f"HTTP_PROXY={PROXY}\nNO_PROXY=.lab\n", encoding="utf-8")
    pip.write_text(PIP, encoding="utf-8")
    for file in (proxies, pip):
        file.chmod(0o600)
    pip_line = f", pip_config_file: {pip}" if builder == "buildkit" else ""
    ruled.write_policy(POLICY + f"builds: {{proxy_file: {proxies}{pip_line}}}\n")
    ruled.start()
    steps = 'RUN test "$http_proxy" = "$HTTP_PROXY" && test "$NO_PROXY" = .lab && echo "$HTTP_PROXY"\n'
    steps += "RUN grep -q t0ken /etc/pip.conf && cat /etc/pip.conf\n" if builder == "buildkit" else ""
    path = write(ruled, f"kept-{builder}", f"FROM {BUSYBOX}\nCOPY . /context\n{steps}RUN echo made > /made\n")
    built = ruled.run("image", "build", path, "-t", "kept", "--verbose", "--json")
    assert "127.0.0.1:9" in built.stderr  # it was printed, without its credentials
    docker, reference = ruled.engine.docker, own(ruled, "kept")
    archive = str(ruled.scratch / "kept.tar")
    docker("save", "--output", archive, reference)
    raw = Path(archive).read_bytes()
    kept = [
        docker("history", "--no-trunc", reference),
        docker("inspect", reference),
        docker("run", "--rm", reference, "env"),
        docker("run", "--rm", reference, "sh", "-c", "cat /etc/pip.conf /context/* 2>&1; true"),
        built.stdout + built.stderr,
        ruled.log(),
        ruled.run("events", "--json", user="alice").stdout,
        ruled.run("create", "demo", "--image", "kept", "--cpu-only", "--dry-run").stdout,
        *(
            log.read_text(encoding="utf-8")
            for log in (ruled.accounts["alice"].home / ".local/state/ds01/builds").glob("kept-*")
        ),
    ]
    for secret in (PASSWORD, TOKEN):
        assert secret.encode() not in raw
        for text in kept:
            assert secret not in text
    assert not [tag for tag in ruled.images() if "/pip-" in tag]
    failed = ruled.run(
        "image",
        "build",
        write(ruled, "fails", f"FROM {BUSYBOX}\nRUN echo $HTTP_PROXY >&2; exit 3\n"),
        "-t",
        "fails",
        check=False,
    )
    assert failed.status == 1
    assert PASSWORD not in failed.stdout + failed.stderr
    assert PASSWORD not in ruled.log()


def is_running(*command: str) -> bool:
    """Tell whether a program runs anywhere on the machine: BuildKit's steps are no containers."""
    wanted = b"\0".join(word.encode() for word in command) + b"\0"
    for found in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if found.read_bytes() == wanted:
                return True
    return False


@pytest.mark.parametrize("builder", [(), ("--buildkit",)])
def test_a_build_ends_at_the_sites_time_limit_and_says_so(ruled: Site, builder: tuple[str, ...]) -> None:
    ruled.write_policy(POLICY + "builds: {time_limit: 3s}\n")
    ruled.start()
    path = write(ruled, "slow", f"FROM {BUSYBOX}\nRUN echo begun; sleep 3217\n")
    failed = ruled.run("image", "build", path, "-t", "slow", *builder, check=False)
    assert failed.status == 1
    assert "longer than 3s, the site's limit (builds.time_limit)" in failed.stderr
    wait_until(lambda: not is_running("sleep", "3217"), "the end of the step")
    assert own(ruled, "slow") + ":latest" not in ruled.images()


@pytest.mark.parametrize("builder", [(), ("--buildkit",)])
@pytest.mark.parametrize("interruptions", [1, 2])
def test_ctrl_c_stops_a_build_and_names_its_log(clean: Site, interruptions: int, builder: tuple[str, ...]) -> None:
    path = write(clean, "stopped", f"FROM {BUSYBOX}\nRUN echo begun-{interruptions}; sleep 3218\n")
    logs = clean.accounts["alice"].home / ".local/state/ds01/builds"
    before = set(logs.glob("stopped-*"))
    build = clean.spawn("image", "build", path, "-t", "stopped", "--verbose", *builder)
    wait_until(lambda: is_running("sleep", "3218"), "the step")
    # the step runs before the client has heard of it
    wait_until(
        lambda: any("begun" in log.read_text(encoding="utf-8") for log in set(logs.glob("stopped-*")) - before),
        "its output",
    )
    for _ in range(interruptions):
        build.send_signal(signal.SIGINT)
    _, error = build.communicate(timeout=PATIENCE_S)
    assert build.returncode in {130, -signal.SIGINT}  # for a shell both are 130
    assert "Traceback" not in error
    wait_until(lambda: not is_running("sleep", "3218"), "the end of the step")
    if interruptions == 1:
        log = Path(next(word for word in shlex.split(error.replace("'", " ")) if word.endswith(".log")))
        assert f"begun-{interruptions}" in log.read_text(encoding="utf-8")
    assert own(clean, "stopped") + ":latest" not in clean.images()


def test_a_step_that_needs_more_memory_than_the_limit_is_killed_and_it_is_said(clean: Site) -> None:
    hungry = "RUN dd if=/dev/zero of=/dev/null bs=900M count=1\n"
    failed = clean.run(
        "image", "build", write(clean, "hungry", f"FROM {BUSYBOX}\n{hungry}"), "-t", "hungry", "--json", check=False
    )
    assert failed.status == 1, failed
    problem = json.loads(failed.stderr.strip().splitlines()[-1])
    assert problem["details"]["cause"] == "out_of_memory", problem
    assert Path(problem["details"]["log"]).is_file()


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("RUN pip install numpy", "no_tool"),
        ("COPY missing /", "no_file"),
        ("RUN wget http://nowhere.invalid/", "no_network"),
        ("RUN mkdir /x && mount -t tmpfs none /x || exit 9", "unknown"),
    ],
)
@pytest.mark.parametrize("builder", [(), ("--buildkit",)])
def test_what_failed_is_explained_by_either_builder(
    clean: Site, line: str, cause: str, builder: tuple[str, ...]
) -> None:
    path = write(clean, "fails", f"FROM {BUSYBOX}\n{line}\n")
    failed = clean.run("image", "build", path, "-t", "fails", "--json", *builder, check=False)
    assert failed.status == 1, failed
    problem = json.loads(failed.stderr.strip().splitlines()[-1])
    assert problem["details"]["cause"] == cause, problem
    assert Path(problem["details"]["log"]).read_text(encoding="utf-8")


def test_a_sites_own_packages_are_offered_and_a_broken_table_changes_nothing(ruled: Site) -> None:
    ruled.write_policy(POLICY + "  admin: {members: [alice], admin: true}\n")
    table = ruled.config / "package_tiers.toml"
    replace_file(table, '[use_case.bio]\nabout = "Sequences"\npip = ["biopython>=1.80"]\n')
    ruled.start()
    words = (
        "image",
        "create",
        "mine",
        "--base",
        BUSYBOX,
        "--type",
        "bio",
        "--jupyter",
        "skip",
        "--data-science",
        "skip",
    )
    assert "biopython>=1.80" in ruled.run(*words, "--dry-run").stdout
    assert ruled.run("admin", "config", "check").status == 0
    replace_file(table, '[use_case.bio]\npip = [\n  "two words",\n]\n')
    wait_until(lambda: not ruled.run("status", "--json", check=False).document["catalogue"]["ok"], "the refusal")
    message = ruled.run("status", "--json", check=False).document["catalogue"]["message"]
    assert "package_tiers.toml:3: [use_case.bio]" in message
    checked = ruled.run("admin", "config", "check", check=False)
    assert checked.status == 2
    assert "package_tiers.toml:3" in checked.stderr
    assert "biopython>=1.80" in ruled.run(*words, "--dry-run").stdout
    table.unlink()
    wait_until(lambda: ruled.run("status", "--json", check=False).document["catalogue"]["ok"], "the shipped table")
    assert ruled.run(*words, "--dry-run", check=False).status == 2
