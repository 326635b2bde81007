"""Row 14: 10,000 random recipes, rendered to Dockerfiles and parsed back, against ten seconds of a processor.

Each has to come back as it was.
"""

import random
import time

from ds01.domain.images.dockerfile import parse_dockerfile
from ds01.domain.images.dockerfile_change import render_dockerfile
from tests.bench.figure import Figure
from tests.random_recipes import random_recipe

RECIPES = 10_000
ALLOWED_S = 10.0


def measure() -> list[Figure]:
    """Return how long the processor needs for all of them; making them at random is not counted."""
    chance = random.Random(1)
    recipes = [random_recipe(chance) for _ in range(RECIPES)]
    began = time.process_time()
    for recipe in recipes:
        assert parse_dockerfile(render_dockerfile(recipe)).recipe == recipe
    taken = time.process_time() - began
    return [Figure(14, f"{RECIPES} recipes, both ways", taken, "s", ALLOWED_S, "ten seconds of a processor", 1.0, 0.5)]
