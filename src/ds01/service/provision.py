"""How what was granted comes into being, and into containers."""

from dataclasses import dataclass

from ds01.service.dynamic_instances import DynamicInstances
from ds01.service.late_binding import LateBinding


@dataclass(frozen=True, slots=True)
class Provision:
    """Both ways in which a grant is more than a row.

    Attributes:
        instances: MIG instances that are made for a grant and go with it.
        late_binding: GPUs that a container gets at each start.
    """

    instances: DynamicInstances
    late_binding: LateBinding
