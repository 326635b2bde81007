"""Files of the site as they are opened: whatever lies in their place, nothing waits and no descriptor stays open."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ds01.config.catalogue import read_catalogue_text
from ds01.config.document import read_file
from ds01.errors import InvalidRequestError


def read_policy(path: Path) -> object:
    return read_file(path, "policy")


@pytest.mark.parametrize("read", [read_catalogue_text, read_policy])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_folder_and_a_pipe_are_refused_and_leave_no_descriptor(
    read: Callable[[Path], object], make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "site"
    make(path)
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidRequestError):
        read(path)
    assert len(os.listdir("/proc/self/fd")) == len(before)
