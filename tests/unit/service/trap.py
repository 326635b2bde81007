"""A trap that every call of every port passes: at a step that a test names it springs, or the process dies."""

from collections.abc import Callable


class ProcessDeathError(BaseException):
    """What kill -9 looks like from inside a test: nothing catches it, and nothing works after it."""


class Trap:
    """Counts the steps of a program through the ports, and springs at one of them."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._at = 0
        self._spring: Callable[[], object] | None = None
        self.is_dead = False

    def arm(self, step: int, spring: Callable[[], object] | None) -> None:
        """Spring at the n-th step from now on; 0: never."""
        self.steps.clear()
        self._at, self._spring = step, spring

    def die(self) -> None:
        """As a spring: the process ends here."""
        self.is_dead = True
        raise ProcessDeathError

    def revive(self) -> None:
        """The next process."""
        self.is_dead = False
        self.arm(0, None)

    def pass_(self, step: str) -> None:
        if self.is_dead:
            raise ProcessDeathError
        self.steps.append(step)
        if len(self.steps) == self._at and self._spring is not None:
            self._spring()
