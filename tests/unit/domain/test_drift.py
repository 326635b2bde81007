"""What a container has otherwise than its image: packages by what their tools wrote down, and what stays behind."""

import pytest
from hypothesis import given, strategies as st

from ds01.domain.containers.layer import merged_changes
from ds01.domain.containers.left_behind import files_to_measure, find_big, find_secrets, own_changes
from ds01.domain.engine import FileChange, FileChangeKind
from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.installed import (
    Drift,
    Installed,
    InstalledPackage,
    PackageChange,
    PackageTool,
    find_drift,
    save_drift,
)
from ds01.domain.images.package_record import (
    APT_STATES,
    DPKG_STATUS,
    RecordFiles,
    find_records,
    installed_of,
    parse_auto_installed,
    parse_conda_history,
    parse_direct_url,
    parse_dpkg_status,
)
from ds01.domain.images.recipe import ImageRecipe, Tier, TierPackages

ADDED, CHANGED, REMOVED = FileChangeKind.ADDED, FileChangeKind.CHANGED, FileChangeKind.REMOVED
SITE = "/usr/local/lib/python3.11/site-packages"
USER_SITE = "/home/alice/.local/lib/python3.11/site-packages"
CONDA = "/opt/conda/conda-meta"


def layer(*added: str, removed: tuple[str, ...] = (), changed: tuple[str, ...] = ()) -> list[FileChange]:
    found = [FileChange(path, ADDED) for path in added]
    found += [FileChange(path, REMOVED) for path in removed]
    return [*found, *(FileChange(path, CHANGED) for path in changed)]


def drift_of(changes: list[FileChange], files: RecordFiles | None = None) -> Drift:
    return find_drift(*installed_of(find_records(changes), files or RecordFiles({})))


def folder(name: str, *files: str, site: str = SITE) -> tuple[str, ...]:
    """The paths of a package's folder of records."""
    return (f"{site}/{name}.dist-info", *(f"{site}/{name}.dist-info/{file}" for file in files))


def pip_change(name: str, before: str, after: str, line: str) -> PackageChange:
    return PackageChange(PackageTool.PIP, name, before, after, line)


def test_what_pip_installed_changed_and_removed_is_found_by_its_folders() -> None:
    found = drift_of(
        layer(
            *folder("rich-13.9.4", "METADATA"),
            *folder("scikit_learn-1.5"),
            *folder("numpy-2.1"),
            removed=(f"{SITE}/numpy-1.26.4.dist-info", f"{SITE}/gone-1.dist-info"),
            changed=(SITE,),
        )
    )
    assert found.changes == (
        pip_change("numpy", "1.26.4", "2.1", "numpy==2.1"),
        pip_change("rich", "", "13.9.4", "rich==13.9.4"),
        pip_change("scikit-learn", "", "1.5", "scikit-learn==1.5"),
        pip_change("gone", "1", "", ""),
    )
    assert not found.left_out
    assert drift_of([]).is_empty


def test_what_another_package_brings_is_not_a_line_but_what_an_extra_brings_is() -> None:
    changes = layer(
        *folder("uvicorn-0.30", "REQUESTED", "METADATA"), *folder("click-8"), *folder("httptools-0.6"), *folder("h11-1")
    )
    metadata = 'Requires-Dist: click>=7.0\nRequires-Dist: httptools (>=0.5.0) ; extra == "standard"\n'
    found = drift_of(changes, RecordFiles({f"{SITE}/uvicorn-0.30.dist-info/METADATA": metadata}))
    assert found.lines(PackageTool.PIP) == ("httptools==0.6", "uvicorn==0.30")
    # a pip that marks nothing leaves unknown who was asked for: everything is taken
    assert len(drift_of(layer(*folder("uvicorn-0.30"), *folder("click-8"))).changes) == 2


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"url": "https://x.org/a-1.whl", "archive_info": {}}', "a @ https://x.org/a-1.whl", ""),
        (
            '{"url": "https://x.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "0123"}}',
            "a @ git+https://x.org/a.git@0123",
            "",
        ),
        ('{"url": "file:///workspace/a", "dir_info": {"editable": true}}', "", "/workspace/a, which a build does not"),
        ('{"url": "https://bob:hunter2@x.org/a-1.whl"}', "", "credentials"),
        ('{"url": "https://tok3n@x.org/a-1.whl"}', "", "credentials"),
        ("{", "", "unreadable"),
        ("[]", "", "unreadable"),
    ],
)
def test_where_a_package_came_from_is_kept_unless_no_build_may_see_it(text: str, line: str, reason: str) -> None:
    changes = layer(*folder("a-1", "direct_url.json"))
    found = drift_of(changes, RecordFiles({f"{SITE}/a-1.dist-info/direct_url.json": text}))
    assert found.lines(PackageTool.PIP) == ((line,) if line else ())
    said = "".join(why for _, why in found.left_out)
    assert reason in said
    assert "hunter2" not in said
    assert "tok3n" not in said


def test_the_part_of_a_version_that_only_one_index_has_is_left_out_of_the_line() -> None:
    assert drift_of(layer(*folder("torch-2.8.0+cu126"))).lines(PackageTool.PIP) == ("torch==2.8.0",)


def test_the_users_own_version_counts_where_both_are_there() -> None:
    changes = layer(*folder("rich-14", site=USER_SITE), *folder("rich-13"))
    assert drift_of(changes).lines(PackageTool.PIP) == ("rich==14",)


def test_environments_of_their_own_and_links_are_named_and_not_taken() -> None:
    inside = folder("rich-13", site="/opt/venv/lib/python3.11/site-packages")
    records = find_records(layer("/opt/venv", "/opt/venv/pyvenv.cfg", *inside, f"{SITE}/tool.egg-link"))
    assert (records.pip_added, records.environments, records.linked) == ((), ("/opt/venv",), ("tool",))
    own_conda = "/home/alice/.conda/envs/x"
    records = find_records(layer(f"{own_conda}/conda-meta", f"{own_conda}/conda-meta/gdal-3.8-py_0.json"))
    assert (records.conda_added, records.environments) == ((), (own_conda,))


def test_packages_of_the_system_are_those_that_somebody_asked_apt_for() -> None:
    before = "Package: git\nStatus: install ok installed\nVersion: 1\n\nPackage: old\nStatus: install ok installed\n"
    after = (
        "Package: git\nStatus: install ok installed\nVersion: 2\n\nPackage: old\nStatus: deinstall ok config-files\n\n"
        "Package: ffmpeg\nStatus: install ok installed\nVersion: 7:6.1\n\n"
        "Package: libav\nStatus: hold ok installed\nVersion: 1\n"
    )
    states = "Package: libav\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: ffmpeg\nAuto-Installed: 0\n"
    python = "/usr/lib/python3/dist-packages/six-1.dist-info"
    found = drift_of(
        layer(python, changed=(DPKG_STATUS, APT_STATES)),
        RecordFiles({DPKG_STATUS: after, APT_STATES: states}, {DPKG_STATUS: before}),
    )
    assert found.changes == (
        PackageChange(PackageTool.APT, "ffmpeg", "", "7:6.1", "ffmpeg"),
        PackageChange(PackageTool.APT, "old", "", "", ""),
    )
    assert parse_dpkg_status("") == {}
    assert parse_auto_installed("") == frozenset()


def test_packages_of_conda_are_those_that_somebody_asked_for_and_are_not_pips_too() -> None:
    site = "/opt/conda/lib/python3.11/site-packages"
    changes = layer(
        f"{CONDA}/gdal-3.8.4-py311_0.json",
        f"{CONDA}/libgdal-3.8.4-h1_0.json",
        f"{CONDA}/numpy-2.0-py311_0.json",
        *folder("GDAL-3.8.4", "INSTALLER", site=site),
        *folder("rich-13", "INSTALLER", site=site),
        *folder("numpy-2.0", "INSTALLER", site=site),
        removed=(f"{CONDA}/numpy-1.26-py311_0.json", f"{site}/numpy-1.26.dist-info"),
        changed=(f"{CONDA}/history",),
    )
    records = find_records(changes)
    history = "# update specs: ['old', \"gdal[version='>=3']\"]\n# remove specs: ['old']\n"
    files = {path: "conda" for path in records.paths_to_read() if path.endswith("INSTALLER")}
    files |= {f"{site}/rich-13.dist-info/INSTALLER": "pip\n", f"{CONDA}/history": history}
    found = find_drift(*installed_of(records, RecordFiles(files)))
    assert found.lines(PackageTool.CONDA) == ("gdal=3.8.4", "numpy=2.0")
    assert found.lines(PackageTool.PIP) == ("rich==13",)
    assert found.removed(PackageTool.PIP) == ()
    assert parse_conda_history("# update specs: ['conda-forge::x=1']") == {"x"}


def test_a_recipe_takes_what_is_there_and_gives_up_what_was_removed() -> None:
    recipe = ImageRecipe(
        "ubuntu:24.04",
        "cv",
        system=("git=1",),
        conda=CondaPackages(("gdal=3.7", "gone")),
        packages=(TierPackages(Tier.USE_CASE, ("numpy<2", "Rich")),),
    )
    drift = Drift(
        (
            pip_change("numpy", "1.26", "2.1", "numpy==2.1"),
            pip_change("polars", "", "1", "polars==1"),
            PackageChange(PackageTool.APT, "git", "", "2", "git"),
            PackageChange(PackageTool.APT, "ffmpeg", "", "7", "ffmpeg"),
            PackageChange(PackageTool.CONDA, "gdal", "3.7", "3.8", "gdal=3.8"),
            pip_change("rich", "13", "", ""),
            pip_change("torch", "2", "", ""),
            PackageChange(PackageTool.CONDA, "gone", "1", "", ""),
        )
    )
    saved = save_drift(recipe, drift)
    assert saved.recipe.packages_of(Tier.USE_CASE) == ("numpy==2.1",)
    assert saved.recipe.packages_of(Tier.CUSTOM) == ("polars==1",)
    assert saved.recipe.system == ("git=1", "ffmpeg")
    assert saved.recipe.conda.specs == ("gdal=3.8",)
    assert [name for name, _ in saved.left_out] == ["torch"]
    assert save_drift(saved.recipe, drift).recipe == saved.recipe, "saving twice changes nothing"


names = st.sampled_from(["a", "b", "c"])
versions = st.sampled_from(["1", "2"])
states = st.dictionaries(names, versions)


@given(states, states)
def test_the_drift_is_exactly_the_difference(before: dict[str, str], after: dict[str, str]) -> None:
    def installed(found: dict[str, str]) -> Installed:
        return Installed({name: InstalledPackage(name, version) for name, version in found.items()}, {}, {})

    drift = find_drift(installed(before), installed(after))
    assert {change.name for change in drift.changes if change.line} == {
        name for name, version in after.items() if before.get(name) != version
    }
    assert set(drift.removed(PackageTool.PIP)) == set(before) - set(after)
    assert drift.is_empty is (before == after)


@pytest.mark.parametrize(
    "path",
    [
        "/home/alice/.ssh",
        "/root/.netrc",
        "/home/alice/.aws",
        "/home/alice/server.pem",
        "/home/alice/.git-credentials",
        "/home/alice/.cache/huggingface/token",
        "/opt/app/.env",
        "/opt/api_key.txt",
        "/home/alice/.docker/config.json",
        "/home/alice/id_ed25519",
        "/home/alice/hf_token.txt",
        "/opt/secret_key",
    ],
)
def test_what_looks_like_a_secret_is_named(path: str) -> None:
    assert [found.path for found in find_secrets(own_changes(layer(path)))] == [path]


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/certifi/cacert.pem",
        "/etc/ssl/certs/ca.pem",
        "/usr/share/tokenizers/x",
        "/etc/passwd",
        "/home/alice/tokenizer.json",
        "/home/alice/special_tokens_map.json",
        "/home/alice/secrets.py",
        "/opt/conda/ssl/cacert.pem",
        "/home/alice/id_ed25519.pub",
    ],
)
def test_what_packages_bring_and_what_only_sounds_like_one_is_not(path: str) -> None:
    assert find_secrets(own_changes(layer(path, f"{CONDA}/x-1-0.json"))) == ()


def test_of_a_folder_of_secrets_only_the_folder_is_named() -> None:
    changes = own_changes(layer("/root/.ssh", "/root/.ssh/id_rsa", "/root/.ssh/config", "/root/.sshd"))
    secrets = find_secrets(changes)
    assert [found.path for found in secrets] == ["/root/.ssh"]
    assert files_to_measure(changes, secrets) == ("/root/.sshd",)


def test_only_new_files_of_peoples_own_are_measured_and_the_big_ones_are_named() -> None:
    changes = own_changes(
        layer("/opt/mine", "/opt/mine/model.bin", "/opt/small", f"{SITE}/x/big.so", changed=("/etc/hosts", "/opt"))
    )
    assert files_to_measure(changes, ()) == ("/opt/mine/model.bin", "/opt/small")
    big = find_big([("/opt/mine/model.bin", 30 * 1024**2), ("/opt/small", 5)])
    assert [(found.path, found.reason) for found in big] == [("/opt/mine/model.bin", "30M, and no package")]
    many = find_big([(f"/{number:02}", 10 * 1024**2) for number in range(25)])
    assert len(many) == 21
    assert many[-1].path == "5 more"


def test_a_layer_on_top_of_another_is_one_layer() -> None:
    lower = layer("/a", "/b", "/d", "/d/x", removed=("/c", "/e"))
    upper = layer("/c", removed=("/a", "/d", "/f"), changed=("/b",))
    assert {change.path: change.kind for change in merged_changes(lower, upper)} == {
        "/b": ADDED,
        "/c": CHANGED,
        "/e": REMOVED,
        "/f": REMOVED,
    }


trees = st.dictionaries(st.sampled_from(["/a", "/b", "/c"]), versions)


@given(trees, trees, trees)
def test_two_layers_merged_are_what_their_ends_differ_in(
    first: dict[str, str], second: dict[str, str], third: dict[str, str]
) -> None:
    def between(old: dict[str, str], new: dict[str, str]) -> dict[str, FileChangeKind]:
        found = {path: ADDED for path in new if path not in old}
        found |= {path: CHANGED for path in new if path in old and new[path] != old[path]}
        return found | {path: REMOVED for path in old if path not in new}

    def as_changes(kinds: dict[str, FileChangeKind]) -> list[FileChange]:
        return [FileChange(path, kind) for path, kind in kinds.items()]

    merged = merged_changes(as_changes(between(first, second)), as_changes(between(second, third)))
    whole = between(first, third)
    found = {change.path: change.kind for change in merged}
    # a file that was changed and changed back is still named: nobody reads its content
    assert {path: kind for path, kind in found.items() if path in whole} == whole
    assert {found[path] for path in found if path not in whole} <= {CHANGED}


def test_an_origin_that_cannot_be_read_is_not_an_index() -> None:
    assert parse_direct_url("[" * 100_000) == "an unreadable direct_url.json"


@pytest.mark.parametrize(
    "near", ["/home/alice/conda-metadata/x", "/pyvenv.cfg", "/conda-meta/x.json", "/home/pyvenv.cfg.bak"]
)
def test_a_name_that_only_looks_like_an_environment_hides_nothing(near: str) -> None:
    assert [found.path for found in find_secrets(own_changes(layer(near, "/home/alice/.netrc")))] == [
        "/home/alice/.netrc"
    ]
