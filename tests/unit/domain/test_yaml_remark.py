"""What is told about YAML that cannot be read."""

import pytest

from ds01.domain.yaml_remark import remark_on, remark_on_character


@pytest.mark.parametrize(
    ("problem", "words", "hint"),
    [
        (r"found character '\t' that cannot start any token", "a tab", "not with tabs"),
        ("found character '%' that cannot start any token", "'%'", '"%staff"'),
        ('found duplicate key "a{b}" with value "1" (original value: "2")', "'a{b}' is a duplicate key", "Keep one"),
        ("but found another document", "another document", "`---`"),
        ("mapping values are not allowed here", "`:` is not expected", "alike"),
        ("could not find expected ':'", "without its `:`", "key: value"),
        ("something new", "something new.", "Indent with spaces"),
    ],
)
def test_every_problem_is_said_with_its_fix(problem: str, words: str, hint: str) -> None:
    remark = remark_on(problem)
    assert words in remark.problem
    assert hint in remark.hint
    assert remark.problem.endswith((".", ")."))


def test_a_character_that_is_not_allowed_is_said_with_its_line() -> None:
    line, remark = remark_on_character("a: 1\nb: \x07\n", 8)
    assert (line, "U+0007" in remark.problem) == (2, True)
