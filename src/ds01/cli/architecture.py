"""The CUDA or ROCm generation that a person wants instead of what follows from the machine."""

from __future__ import annotations

from ds01.cli.call import Call
from ds01.cli.spec import Option

ARCH = Option(
    "--arch",
    "CUDA generation of the image, such as CUDA_ADA; else as this machine needs.",
    kind="text",
    metavar="NAME",
    completes="architecture",
)
VARIABLES = ("DS01_ARCH", "MLC_ARCH")
"""Read in this order. Source: AIME's mlc reads MLC_ARCH when -arch is not given; an empty one counts as not set."""


def wanted_architecture(call: Call) -> str | None:
    """Return what was typed, else what the environment says, else None."""
    typed = call.text("arch")
    return typed or next((found for name in VARIABLES if (found := call.environment.get(name))), None)
