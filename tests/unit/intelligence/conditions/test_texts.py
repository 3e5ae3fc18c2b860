import pytest

from server.intelligence.conditions.texts import MAX_PATTERN, text_test


@pytest.mark.parametrize(
    ("function", "argument", "text", "expected"),
    [
        ("startsWith", "go", "gold", True), ("startsWith", "ld", "gold", False), ("startsWith", "", "gold", True),
        ("endsWith", "ld", "gold", True), ("endsWith", "go", "gold", False),
        ("contains", "ol", "gold", True), ("contains", "lo", "gold", False), ("contains", "OL", "gold", False),
        ("matches", "o.d", "gold", True), ("matches", "^o", "gold", False), ("matches", "", "gold", True),
        ("matches", "(?i)OL", "gold", True), ("matches", "^é$", "é", True), ("startsWith", ".", "gold", False),
    ],
)  # fmt: skip
def test_function_says_what_cel_says(function: str, argument: str, text: str, expected: bool) -> None:
    assert text_test(function, argument)(text) is expected


@pytest.mark.parametrize("pattern", ["(", "[a", "(?=a)", r"(a)\1", "a{1001}", "\\"])
def test_what_re2_does_not_know_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        text_test("matches", pattern)


def test_pattern_is_bounded_in_bytes_and_in_what_it_expands_to() -> None:
    text_test("matches", "a" * MAX_PATTERN)

    with pytest.raises(ValueError, match="at most 512 bytes"):
        text_test("matches", "a" * (MAX_PATTERN - 1) + "é")
    with pytest.raises(ValueError, match="too large"):
        text_test("matches", r"\pL{200}")


def test_pattern_that_backtracks_elsewhere_is_decided_at_once() -> None:
    assert not text_test("matches", "^(a+)+$")("a" * 5_000 + "b")


def test_refusal_is_not_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        text_test("matches", "(")

    assert capfd.readouterr().err == ""
