"""What the architecture rests on: imports point down, and no program of others is copied into the repository."""

from importlinter.cli import lint_imports

from tests.repo.tree import ROOT, files

PREDECESSORS = {"mlc.py", "mlc-patched.py", "mlc-create-wrapper.sh", "get_resource_limits.py", "gpu_allocator.py"}


def test_every_import_points_down() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_no_program_of_the_predecessors_is_copied_or_drawn_in() -> None:
    assert not (ROOT / ".gitmodules").exists()
    assert [path for path in files() if path.name in PREDECESSORS] == []
    assert [path for path in files() if path.name == "ml_images.repo"] == []
