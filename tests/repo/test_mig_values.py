"""The shipped values of MIG states are what the product computes."""

from dev.mig_values import PATH, render


def test_the_shipped_values_are_current() -> None:
    assert PATH.read_text(encoding="utf-8") == render(), "run `python -m dev.mig_values`"
