"""Makes the images that tests and the demo use: a small Debian (or Ubuntu) under catalogue names, and a busybox.

There is no registry to fetch them from on a machine without the internet, so they are built from the distribution's
own packages once, kept as a tar, and imported into each engine.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.enginekit.commands import DevError, run
from dev.enginekit.engine import engine_tree
from dev.enginekit.folders import dev_folder, locked
from dev.enginekit.packages import tree_with, unpacked_tree
from dev.enginekit.sources import UNSTABLE, debian_sources, package_sources, suite

BASE_TAGS = (
    "aimehub/pytorch-2.8.0-aime-cuda12.6.3",
    "aimehub/pytorch-2.8.0-cuda12.6.3",
    "aimehub/pytorch-2.7.1-aime-cuda12.6.0",
    "aimehub/tensorflow-2.16.1-cuda12.3",
)
BUSYBOX_TAG = "ds01-dev/busybox"
USER_1000_TAG = "ds01-dev/uid1000"
TRIXIE_TAG = "ds01-dev/trixie"
SID_TAG = "ds01-dev/sid"
_LABEL = "ds01-dev.recipe"
_PATH = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INCLUDED = "python3,python3-pip,python3-venv,sudo,git,ca-certificates,passwd,procps,iproute2"
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_BUILD_TIMEOUT_S = 1800.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image: how its tar comes about and what is said about it."""

    tags: tuple[str, ...]
    ingredients: tuple[str, ...]
    changes: tuple[str, ...]
    build: Callable[[Path], None]

    @property
    def key(self) -> str:
        """What tells this recipe from any other."""
        return hashlib.sha256("\n".join([*self.ingredients, *self.changes]).encode()).hexdigest()[:12]

    def archive(self) -> Path:
        """Return the tar, built now if it is not there; a break-off leaves no half tar.

        Raises:
            DevError: It cannot be built.
        """
        folder = dev_folder() / "images"
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{self.tags[0].rpartition('/')[2]}-{self.key}.tar"
        with locked(folder):
            if not archive.exists():
                for leftover in folder.glob(".draft-*"):
                    shutil.rmtree(leftover)
                draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
                try:
                    self.build(draft / "image.tar")
                    (draft / "image.tar").rename(archive)
                finally:
                    shutil.rmtree(draft)
        return archive


class Docker:
    """The docker command, talking to the engine of `$DOCKER_HOST`."""

    def __init__(self, environment: dict[str, str]) -> None:
        if not environment.get("DOCKER_HOST"):
            raise DevError('DOCKER_HOST is not set; start an engine, then: eval "$(dev/engine env NAME)"')
        tree = engine_tree()
        self._env = tree.environment(environment)
        self._docker = environment.get("DS01_DEV_DOCKER") or str(tree.command("docker", environment))

    def recipe_of(self, tag: str) -> str | None:
        """Return the recipe an image was made by, or None if there is no such image."""
        listing = run([self._docker, "images", "--no-trunc", "--quiet", tag], env=self._env).split()
        if not listing:
            return None
        return run(
            [self._docker, "inspect", "--format", f'{{{{index .Config.Labels "{_LABEL}"}}}}', listing[0]], env=self._env
        ).strip()

    def bring(self, recipe: Recipe) -> None:
        """Import the image unless the engine has it, under all its names."""
        missing = [tag for tag in recipe.tags if self.recipe_of(tag) != recipe.key]
        if not missing:
            return
        present = next((tag for tag in recipe.tags if tag not in missing), None)
        if present is None:
            changes = [f"LABEL {_LABEL}={recipe.key}", *recipe.changes]
            words = [word for change in changes for word in ("--change", change)]
            present = run([self._docker, "import", *words, recipe.archive()], env=self._env).strip()
        for tag in missing:
            run([self._docker, "tag", present, tag], env=self._env)

    def build(self, tag: str, dockerfile: str) -> None:
        """Build a small variant of an image that is there."""
        run(
            [self._docker, "build", "--quiet", "--tag", tag, "-"],
            env={**self._env, "DOCKER_BUILDKIT": "0"},
            stdin_text=dockerfile,
        )


def base_recipe() -> Recipe:
    """Return the recipe of the image that stands in for the frameworks: python, pip, sudo, git, no GPU code."""
    return _debian_recipe(BASE_TAGS, suite(), package_sources())


def trixie_recipe() -> Recipe:
    """Return the recipe of the same image made of Debian 13, whose python, shadow and sudo are newer."""
    return _debian_recipe((TRIXIE_TAG,), "trixie", debian_sources("trixie"))


def sid_recipe() -> Recipe:
    """Return the recipe of the same image made of Debian's unstable packages, as they are when it is first made."""
    return _debian_recipe((SID_TAG,), UNSTABLE, debian_sources(UNSTABLE))


def _debian_recipe(tags: tuple[str, ...], release: str, sources: str) -> Recipe:

    def build(archive: Path) -> None:
        environment = dict(os.environ, TMPDIR=str(archive.parent))
        tree = tree_with(["mmdebstrap"], ["mmdebstrap"], environment.get("PATH", ""))
        command: list[str | Path] = [
            tree.command("mmdebstrap", environment),
            "--mode=root",
            "--variant=minbase",
            f"--include={_INCLUDED}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED),
            '--aptopt=Acquire::Languages "none"',
            # its lists are valid for a week, and a mirror may be behind: signatures are checked all the same
            *(['--aptopt=Acquire::Check-Valid-Until "false"'] if release == UNSTABLE else []),
            release,
            archive,
            "-",
        ]
        # An interpreter setting of ours must not reach the packages' own scripts.
        env = {key: value for key, value in tree.environment(environment).items() if not key.startswith("PYTHON")}
        run(command, env=env, stdin_text=sources, timeout_s=_BUILD_TIMEOUT_S)

    return Recipe(
        tags=tags,
        ingredients=(sources, _INCLUDED, *_EXCLUDED),
        changes=(_PATH, "ENV LANG=C.UTF-8", "WORKDIR /workspace", 'CMD ["/bin/bash"]'),
        build=build,
    )


def busybox_recipe() -> Recipe:
    """Return the recipe of an image of 2 MB that starts a shell and little else."""

    def build(archive: Path) -> None:
        tree = unpacked_tree(["busybox"], ["busybox-static"])
        program = tree.command("busybox", {})
        root = archive.parent / "root"
        for folder in ("bin", "etc", "root", "tmp", "workspace"):
            (root / folder).mkdir(parents=True)
        shutil.copy2(program, root / "bin/busybox")
        for applet in run([program, "--list"]).split():
            if applet != "busybox":
                (root / "bin" / applet).symlink_to("busybox")
        (root / "tmp").chmod(0o1777)
        (root / "etc/passwd").write_text(
            "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", encoding="ascii"
        )
        (root / "etc/group").write_text("root:x:0:\nnobody:x:65534:\n", encoding="ascii")
        run(
            [
                "tar",
                "--create",
                "--numeric-owner",
                "--owner=0",
                "--group=0",
                f"--directory={root}",
                f"--file={archive}",
                ".",
            ]
        )

    return Recipe(
        tags=(BUSYBOX_TAG,), ingredients=("busybox-static", suite()), changes=(_PATH, 'CMD ["/bin/sh"]'), build=build
    )


RECIPES: dict[str, tuple[Callable[[], Recipe], ...]] = {
    "base": (base_recipe,),
    "busybox": (busybox_recipe,),
    "trixie": (trixie_recipe,),
    "sid": (sid_recipe,),
    "all": (base_recipe, busybox_recipe),
}


def bring_images(what: str, *, with_user_1000: bool) -> list[str]:
    """Bring images into the engine of `$DOCKER_HOST` and return their names.

    Raises:
        DevError: One of them cannot be made.
    """
    docker = Docker(dict(os.environ))
    recipes = RECIPES[what]
    names: list[str] = []
    for recipe in [make() for make in recipes]:
        docker.bring(recipe)
        names += recipe.tags
    if with_user_1000:
        docker.bring(base_recipe())
        docker.build(
            USER_1000_TAG,
            f"FROM {BASE_TAGS[0]}\nRUN groupadd -g 1000 ubuntu && useradd -m -u 1000 -g 1000 -s /bin/bash ubuntu\n",
        )
        names.append(USER_1000_TAG)
    return names


def main(words: Sequence[str] | None = None) -> int:
    """Run `dev/base-image` and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="dev/base-image", description="Puts test images into the engine of $DOCKER_HOST."
    )
    parser.add_argument("what", nargs="?", choices=list(RECIPES), default="base")
    parser.add_argument("--with-user-1000", action="store_true", help="also an image whose uid and gid 1000 are taken")
    arguments = parser.parse_args(words)
    try:
        print("\n".join(bring_images(arguments.what, with_user_1000=arguments.with_user_1000)))
    except DevError as error:
        print(f"dev/base-image: {error}", file=sys.stderr)
        return 1
    return 0
