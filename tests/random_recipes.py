"""Recipes for tests that need many quickly, and the one that has everything."""

import random
from dataclasses import replace

from ds01.domain.images.conda_package import CondaPackages
from ds01.domain.images.recipe import DEFAULT_ENVIRONMENT, CopiedFile, ImageRecipe, RequirementsFile, Tier, TierPackages

FULL = ImageRecipe(
    base="aimehub/pytorch-2.8.0-aime-cuda12.6.3",
    name="thesis",
    author="alice",
    framework="Pytorch-2.8.0-aime",
    use_case="cv",
    created="2026-01-31",
    system=("git", "curl", "wget", "vim", "htop", "ffmpeg"),
    conda=CondaPackages(("cuda-nvcc=12.6", "gdal>=3.8,<4"), ("nvidia", "conda-forge", "nodefaults")),
    requirements=RequirementsFile(
        lines=(
            "--extra-index-url https://download.pytorch.org/whl/cu126",
            'tomli; python_version < "3.11"',
            f"six==1.16.0 --hash=sha256:{'8a' * 32}",
        ),
        constraints=("urllib3<2",),
        source="requirements.txt",
    ),
    packages=(
        TierPackages(Tier.JUPYTER, ("jupyterlab", "ipykernel", "ipywidgets")),
        TierPackages(Tier.DATA_SCIENCE, ("pandas>=2.0", "scikit-learn")),
        TierPackages(Tier.USE_CASE, ("timm", "albumentations")),
        TierPackages(Tier.ADDITIONAL, ("uvicorn[standard]", "torchmetrics<2,>=1")),
        TierPackages(Tier.CUSTOM, ("sam @ git+https://github.com/example/sam.git@main",)),
    ),
    files=(CopiedFile("models/start.bin", "/opt/models/start.bin"),),
    env=(*DEFAULT_ENVIRONMENT, ("GREETING", 'costs $5, says "hello"')),
    labels=(("org.opencontainers.image.title", "Thesis"),),
)


def random_recipe(chance: random.Random) -> ImageRecipe:
    """Return a recipe of the size that people write, the same for the same chance."""

    def name() -> str:
        return "".join(chance.choices("abcdefghij", k=chance.randrange(3, 12)))

    def package() -> str:
        kind = chance.random()
        bound = (
            f"{chance.choice(('>=', '==', '<', '!='))}{chance.randrange(9)}.{chance.randrange(99)}"
            if kind > 0.5
            else ""
        )
        return name() + bound + ('; python_version < "3.12"' if kind > 0.9 else "")

    def packages(most: int) -> tuple[str, ...]:
        return tuple(package() for _ in range(chance.randrange(most)))

    return replace(
        FULL,
        name=name(),
        system=tuple(f"{name()}{chance.randrange(9)}" for _ in range(chance.randrange(8))),
        requirements=RequirementsFile(packages(20)) if chance.random() < 0.3 else None,
        packages=tuple(TierPackages(tier, packages(7)) for tier in Tier),
        env=(*DEFAULT_ENVIRONMENT, ("NAME", name())),
    )
