from collections.abc import Callable

import pytest

from server.domain.attribute import Attribute, AttributeType
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event
from server.input.digest import digest_of
from server.input.profiles import ProfileTable
from tests.support.catalogs import count, decayed, number, text_set
from tests.support.clock import NOON_US, TODAY, us_ago
from tests.support.tables import change, link, put, table, unlink

ATTRIBUTES = (
    number("visits"), number("score"), text_set("tags", "x", "y"),
    Attribute("income", AttributeType.NUMBER, purpose="p"),
    count("week", "buy", 7), decayed("d", "buy", "amount", 5.0),
)  # fmt: skip

Step = Callable[[ProfileTable], None]


def steps() -> dict[str, Step]:
    """Changes that commute, by name."""
    return {
        "a visits": lambda t: put(t, "a", {"visits": 1.0}, us_ago(hours=1)),
        "a earlier visits": lambda t: put(t, "a", {"visits": 2.0}, us_ago(hours=2)),
        "a score": lambda t: put(t, "a", {"score": 2.0}, us_ago(hours=3), version=9),
        "a tags": lambda t: change(t, "a", AttributeUpdates(append={"tags": ("x",)})),
        "b event": lambda t: change(t, "b", Event("buy", {"amount": 1.0}), us_ago(days=1)),
        "b other event": lambda t: change(t, "b", Event("buy", {"amount": 2.0}), us_ago(days=6)),
        "b consent": lambda t: change(t, "b", ConsentUpdate("p", True), us_ago(hours=1)),
        "b late refusal": lambda t: change(t, "b", ConsentUpdate("p", False), us_ago(hours=2)),
        "c": lambda t: put(t, "c", {}, 0),
        "link": lambda t: link(t, "a", "c"),
    }


def both_known(profiles: ProfileTable) -> None:
    put(profiles, "a", {})
    put(profiles, "b", {})


def digest_after(*some: Step) -> str:
    profiles = table(*ATTRIBUTES)
    for step in some:
        step(profiles)
    return digest_of(profiles, TODAY)


def test_digest_is_32_hexadecimal_digits() -> None:
    for digest in (digest_after(), digest_after(*steps().values())):
        assert len(digest) == 32
        assert int(digest, 16) >= 0


def test_order_of_what_commutes_does_not_count() -> None:
    some = list(steps().values())

    assert digest_after(*some) == digest_after(*reversed(some)) == digest_after(*some[5:], *some[:5])


@pytest.mark.parametrize("left_out", [name for name in steps() if name not in ("a earlier visits", "b late refusal")])
def test_everything_that_is_known_counts(left_out: str) -> None:
    without = [step for name, step in steps().items() if name != left_out]

    assert digest_after(*without) != digest_after(*steps().values())


def test_what_came_too_late_does_not_count() -> None:
    visits, earlier = steps()["a visits"], steps()["a earlier visits"]

    assert digest_after(visits, earlier) == digest_after(visits)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda t: put(t, "a", {"visits": 1.0}), lambda t: put(t, "a", {"visits": 2.0})),
        (lambda t: put(t, "a", {"visits": 1.0}), lambda t: put(t, "b", {"visits": 1.0})),
        (lambda t: put(t, "a", {"visits": 1.0}), lambda t: put(t, "a", {"score": 1.0})),
        (lambda t: put(t, "a", {"visits": 1.0}), lambda t: put(t, "a", {"visits": 1.0}, NOON_US - 1)),
        (lambda t: change(t, "a", ConsentUpdate("p", True)), lambda t: change(t, "a", ConsentUpdate("p", False))),
        (
            lambda t: change(t, "a", Event("buy", {"amount": 1.0}), us_ago(days=1)),
            lambda t: change(t, "a", Event("buy", {"amount": 1.0}), us_ago(days=2)),
        ),
        (lambda t: link(t, "a", "b"), both_known),
    ],
)
def test_different_facts_have_different_digests(one: Step, other: Step) -> None:
    assert digest_after(one) != digest_after(other)


def test_removal_counts_as_it_holds_against_what_is_older() -> None:
    removed = AttributeUpdates(remove={"visits": ()})

    assert digest_after(lambda t: change(t, "a", removed)) != digest_after(lambda t: put(t, "a", {}))


def test_times_that_a_row_shares_count_like_times_of_their_own() -> None:
    def spread(profiles: ProfileTable) -> None:
        profiles.times.spread(profiles.find("a"), lambda: profiles.settable(profiles.find("a")))

    visits = steps()["a visits"]

    assert digest_after(visits, spread) == digest_after(visits)


def test_versions_and_row_numbers_do_not_count() -> None:
    def reuse(profiles: ProfileTable) -> None:
        for name in "xyz":
            put(profiles, name, {"visits": 5.0})
        profiles.forget([profiles.find(name) for name in "zyx"])

    later = [lambda t: put(t, "a", {"visits": 1.0}, version=1), lambda t: put(t, "b", {"visits": 1.0}, version=1)]
    sooner = [lambda t: put(t, "a", {"visits": 1.0}, version=8), lambda t: put(t, "b", {"visits": 1.0}, version=7)]

    assert digest_after(reuse, *later) == digest_after(*sooner)


def test_days_that_no_window_reaches_do_not_count() -> None:
    def event(days: int) -> Step:
        return lambda t: change(t, "a", Event("buy", {"amount": 0.0}), us_ago(days=days))

    assert digest_after(event(0), event(8), event(30)) == digest_after(event(0), event(9), event(30))


def test_parting_gives_the_digest_back() -> None:
    def parted(profiles: ProfileTable) -> None:
        unlink(profiles, "a", "c")

    before = [step for name, step in steps().items() if name != "link"]

    assert digest_after(*before, steps()["link"], parted) == digest_after(*before)


def test_who_is_joined_with_whom_counts_and_not_by_which_links() -> None:
    people = [both_known, lambda t: put(t, "c", {})]
    chain = [lambda t: link(t, "a", "b"), lambda t: link(t, "b", "c")]
    other_chain = [lambda t: link(t, "c", "a"), lambda t: link(t, "a", "b")]

    assert digest_after(*people, *chain) == digest_after(*people, *other_chain)
    assert digest_after(*people, chain[0]) != digest_after(*people, chain[1])
