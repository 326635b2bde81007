from pathlib import Path

import pytest

from ds01.adapters.linux.cgroup import LinuxCgroups, parse_container

ID = "0123456789abcdef" * 4
OTHER = "f" * 64


@pytest.mark.parametrize(
    "line",
    [
        f"0::/docker/{ID}",
        f"12:memory:/docker/{ID}",
        f"5:cpu,cpuacct:/slurm_n1/uid_1001/job_2/{ID}",
        f"0::/system.slice/docker-{ID}.scope",
        f"0::/aime.slice/aime-alice.slice/docker-{ID}.scope",
        f"0::/machine.slice/libpod-{ID}.scope",
        f"0::/machine.slice/libpod-{ID}.scope/container",
        f"0::/system.slice/docker-{ID}.scope/init.scope",
        f"0::/docker/{ID}/docker/{OTHER}",
        f"1:name=systemd:/docker/{ID}",
        f"1:name=odd:/a:b/docker/{ID}",
    ],
)
def test_every_form_of_a_containers_cgroup_names_the_outermost_container(line: str) -> None:
    assert parse_container(f"13:pids:/user.slice\n{line}\n") == ID


@pytest.mark.parametrize(
    "line",
    [
        "0::/",
        "0::/user.slice/user-1001.slice/session-3.scope",
        f"0::/machine.slice/libpod-conmon-{ID}.scope",
        f"0::/docker/{ID[:63]}",
        f"0::/docker/{ID}0",
        f"0::/docker/{ID.upper()}",
        f"0::/x{ID}",
        "",
    ],
)
def test_other_cgroups_name_none(line: str) -> None:
    assert parse_container(line) is None


def test_a_process_is_looked_up_by_its_pid(tmp_path: Path) -> None:
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "cgroup").write_text(f"0::/docker/{ID}\n")
    assert LinuxCgroups(tmp_path).container_of(17) == ID
    assert LinuxCgroups(tmp_path).container_of(18) is None
