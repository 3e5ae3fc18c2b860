import pytest

from server.domain.contact import (
    HOLDING,
    KIND_MASK,
    REACHED,
    STATE_MASK,
    UNCOUNTED,
    ContactKind,
    ContactScope,
    ContactSubject,
    reached_bit,
)

SUBJECT = ContactSubject("a", "home", "web", "discount", "beverages")


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        (ContactScope.OFFER, "a"),
        (ContactScope.EXCLUSION_GROUP, "beverages"),
        (ContactScope.TACTIC, "discount"),
        (ContactScope.CHANNEL, "web"),
        (ContactScope.ALL, ""),
    ],
)
def test_scope_puts_contacts_together_by_what_they_share(scope: ContactScope, key: str) -> None:
    assert SUBJECT.key(scope) == key


def test_offer_without_group_or_tactic_shares_them_with_nobody() -> None:
    alone = ContactSubject("a")

    assert alone.key(ContactScope.EXCLUSION_GROUP) is None
    assert alone.key(ContactScope.TACTIC) is None
    assert alone.key(ContactScope.ALL) == ""


def test_every_outcome_has_been_an_impression_and_itself() -> None:
    for kind, reached in REACHED.items():
        assert reached[0] is ContactKind.IMPRESSION
        assert reached[-1] is kind


def test_nothing_holds_what_nobody_hopes_for() -> None:
    assert ContactKind.DECLINED not in HOLDING
    assert ContactKind.DECISION not in HOLDING


def test_states_tell_all_kinds_and_what_was_reached_apart() -> None:
    bits = [reached_bit(kind) for kind in ContactKind]

    assert len({*bits}) == len(ContactKind)
    assert all(bit & ~STATE_MASK == 0 and bit & KIND_MASK == 0 for bit in bits)
    assert max(ContactKind) < UNCOUNTED <= KIND_MASK
