"""The error tree: one table of codes, HTTP and exit statuses."""

import pytest

from ds01 import errors
from ds01.errors import EXIT_OK, Ds01Error, all_error_classes

# DESIGN, section 4
TABLE = {
    "InvalidRequestError": (400, 2),
    "ForbiddenError": (403, 4),
    "QuotaExceededError": (403, 4),
    "NotFoundError": (404, 3),
    "ConflictError": (409, 8),
    "NoCapacityError": (409, 5),
    "BackendError": (502, 7),
    "BackendTimeoutError": (504, 7),
    "BuildStepError": (502, 7),
    "WaitTimeoutError": (None, 6),
    "DaemonUnreachableError": (None, 7),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_error_has_the_statuses_of_the_design(name: str) -> None:
    error_class = getattr(errors, name)
    assert (error_class.http_status, error_class.exit_status) == TABLE[name]


def test_the_table_is_complete() -> None:
    ours = {found.__name__ for found in all_error_classes() if found.__module__ == errors.__name__}
    assert ours == {*TABLE, "Ds01Error"}


def test_codes_are_unique_and_titles_are_said() -> None:
    classes = [found for found in all_error_classes() if found.__module__ == errors.__name__]
    assert len({found.code for found in classes}) == len(classes)
    assert all(found.title and found.code.islower() for found in classes)
    assert all(found.exit_status != EXIT_OK for found in classes)


def test_parents_come_before_their_children() -> None:
    classes = list(all_error_classes())
    for position, found in enumerate(classes):
        assert all(classes.index(base) < position for base in found.__bases__ if base in classes)


def test_an_error_says_its_message_and_keeps_hint_and_details() -> None:
    error = Ds01Error("It broke.", hint="Mend it.", details={"part": 1})
    assert (str(error), error.hint, error.details) == ("It broke.", "Mend it.", {"part": 1})


def test_details_are_a_copy_that_callers_may_add_to() -> None:
    given = {"part": 1}
    error = Ds01Error("It broke.", details=given)
    error.details["more"] = 2
    assert given == {"part": 1}
