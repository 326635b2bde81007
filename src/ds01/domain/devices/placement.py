"""What a request gets: the devices and why these. Which ones they are `ds01.domain.scheduling.schedule` decides."""

from dataclasses import dataclass

from ds01.domain.devices.gpu import Gpu


@dataclass(frozen=True, slots=True)
class Placement:
    """Devices chosen for a request.

    Attributes:
        gpus: In display order; empty for a request without GPUs.
        reason: Why these, in one phrase.
    """

    gpus: tuple[Gpu, ...]
    reason: str

    @property
    def equivalents(self) -> float:
        """What the grant weighs."""
        return sum(gpu.equivalents for gpu in self.gpus)
