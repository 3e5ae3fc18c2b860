import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identifier import is_identifier, require_identifier, shown_name


@pytest.mark.parametrize("text", ["a", "loyalty:42", "email_sha256:0aF=", "a/b@c+d-e._", "x" * 128])
def test_identifier_is_accepted(text: str) -> None:
    require_identifier("customer_id", text)

    assert is_identifier(text)


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 129, "naïve", "a\n", "a\0", "a;b"])
def test_what_is_not_an_identifier_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        require_identifier("customer_id", text)

    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert [violation.field for violation in refused.value.violations] == ["customer_id"]
    assert not is_identifier(text)


def test_refused_identifier_is_not_repeated_in_the_error() -> None:
    with pytest.raises(OpportuneError) as refused:
        require_identifier("customer_id", "jane doe@example.com")

    assert "jane" not in refused.value.message


def test_length_counts_in_bytes() -> None:
    with pytest.raises(OpportuneError, match="130 bytes"):
        require_identifier("customer_id", "ä" * 65)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("teir", "teir"), ("affinity.toys", "affinity.toys"), ("anna@example.com", "…"), ("Anna M", "…"), ("", "…")],
)
def test_name_of_a_field_is_repeated_only_if_it_looks_like_one(name: str, shown: str) -> None:
    assert shown_name(name) == shown
    assert shown_name("a" * 65) == "…"
