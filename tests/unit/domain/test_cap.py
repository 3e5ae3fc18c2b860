import pytest

from server.domain.cap import Cap, CapSubject
from server.domain.contact import ContactKind, ContactScope

HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("cap", "words"),
    [
        (Cap(3, 30 * 24 * HOUR_US), "3 impression in 30 d"),
        (Cap(1, 12 * HOUR_US, on=ContactKind.DECLINED), "1 declined in 12 h"),
        (Cap(2, HOUR_US // 2, of=ContactScope.TACTIC), "2 impression in 0.5 h of the tactic"),
        (
            Cap(2, 36 * HOUR_US, CapSubject.HOUSEHOLD, ContactScope.ALL),
            "2 impression in 1.5 d of all offers per household",
        ),
        (
            Cap(9, 24 * HOUR_US, CapSubject.GLOBAL, ContactScope.CHANNEL, ContactKind.DECISION),
            "9 decision in 1 d on the channel of everybody",
        ),
    ],
)
def test_cap_says_what_it_allows(cap: Cap, words: str) -> None:
    assert str(cap) == words
