from collections.abc import Sequence

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.identity import IdentityPolicy
from server.domain.journal import DeltasRejected, ProfileErased, Record, Redacted, Rejection
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta, RejectedDelta
from server.execution.facts import CompiledDelta, Facts
from tests.support.catalogs import category, count, number, schema
from tests.support.clock import NOON_US, us_ago
from tests.support.folds import (
    apply,
    captured,
    digest,
    folded,
    linked,
    profile,
    published,
    received,
    restored,
    unlinked,
)

VISITS = number("visits")
FIRST = published(schema(VISITS, category("tier", "basic", "gold"), count("purchases", "purchase", 7)))
KEY, OTHER_KEY = b"k" * 16, b"l" * 16


def visits(customer_id: str, value: float = 1.0, **more: object) -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, AttributeUpdates(set={"visits": value}), **more)  # type: ignore[arg-type]


def joining(customer_id: str, *others: str) -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, None, others)


def matching(customer_id: str, *keys: bytes) -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, AttributeUpdates(), (), keys)


def facts_with(limit: int = 32) -> Facts:
    return folded([FIRST._replace(identity=IdentityPolicy(limit))])


def identifiers(facts: Facts, customer_id: str) -> tuple[str, ...]:
    return profile(facts, customer_id).identifiers


def reasons(refused: Sequence[RejectedDelta]) -> list[tuple[int, str, bool]]:
    return [(each.index, each.error.reason.name, each.applied) for each in refused]


def test_nothing_is_known_before_the_first_entry() -> None:
    facts = Facts()

    assert (facts.offset, facts.sources, facts.catalog, len(facts.profiles)) == (0, {}, None, 0)


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_entry_that_does_not_follow_is_not_applied(offset: int) -> None:
    facts = folded([FIRST])

    with pytest.raises(ValueError, match="does not follow 1"):
        facts.apply(Record(offset, received(visits("a"))))

    assert (facts.offset, facts.profiles.find("a")) == (1, -1)


def test_entries_about_nothing_that_is_kept_move_the_offset_alone() -> None:
    facts = facts_with()
    before = digest(facts)

    apply(
        facts,
        Redacted(NOON_US),
        ProfileErased(NOON_US, 2),
        DeltasRejected(NOON_US, "crm", 9, (Rejection(0, "X", "x"),)),
    )

    assert (facts.offset, facts.sources, digest(facts)) == (4, {}, before)


def test_watermark_of_a_source_is_its_last_sequence() -> None:
    facts = facts_with()

    apply(
        facts,
        received(source="crm", sequence=5),
        received(visits("a"), source="crm"),
        received(source="shop", sequence=2),
    )

    assert facts.sources == {"crm": 5, "shop": 2}


def test_version_of_a_profile_is_the_offset_of_its_last_entry() -> None:
    facts = facts_with()

    apply(facts, received(visits("a"), visits("b")), received(visits("b")))

    assert (profile(facts, "a").version, profile(facts, "b").version) == (2, 3)


def test_time_of_receipt_does_not_matter_for_what_is_known() -> None:
    one, other = facts_with(), facts_with()
    event = ProfileDelta("a", us_ago(days=2), Event("purchase"))

    apply(one, received(event, time_us=us_ago(days=2)))
    apply(other, received(event, time_us=us_ago(days=-300)))

    assert digest(one) == digest(other)


def test_delta_that_fits_no_more_is_passed_and_its_neighbours_are_applied() -> None:
    facts = facts_with()
    gold = ProfileDelta("a", NOON_US, AttributeUpdates(set={"tier": "gold"}))
    event = ProfileDelta("a", NOON_US, Event("purchase"))

    apply(facts, published(schema(VISITS), version=2))
    refused = apply(facts, received(visits("a", 1.0), gold, event, visits("b", 2.0)))

    assert refused == []
    assert (profile(facts, "a").attributes, profile(facts, "b").attributes) == ({"visits": 1.0}, {"visits": 2.0})


def test_consent_for_a_purpose_that_has_gone_is_passed() -> None:
    facts = facts_with()

    apply(facts, received(ProfileDelta("a", NOON_US, ConsentUpdate("gone", True))))

    assert profile(facts, "a").consents == {}


def test_catalog_between_deltas_moves_what_is_known() -> None:
    facts = facts_with()
    buy = ProfileDelta("a", NOON_US, Event("purchase"))

    apply(facts, received(visits("a"), buy))
    apply(facts, published(schema(count("purchases", "purchase", 7), number("new"), VISITS), version=2))
    apply(facts, received(buy))

    assert profile(facts, "a").attributes == {"visits": 1.0, "purchases": 2.0}
    assert facts.catalog is not None
    assert facts.catalog.version == 2


def test_joined_customers_are_worked_out_anew_after_a_catalog() -> None:
    facts = facts_with()

    apply(facts, received(visits("a", 5.0)), linked("a", "b"))
    apply(facts, published(schema(number("new"), VISITS), version=2))

    assert profile(facts, "b").attributes == {"visits": 5.0}


def test_compiled_deltas_are_applied_as_they_are() -> None:
    facts, again = facts_with(), facts_with()
    entry = received(visits("a"), visits("b", 2.0))
    compiled = [CompiledDelta(place, delta, facts.compile(delta)) for place, delta in enumerate(entry.deltas)]

    facts.apply(Record(2, entry), compiled)
    again.apply(Record(2, entry))

    assert digest(facts) == digest(again)


def test_identifiers_that_a_delta_names_together_are_one_customer() -> None:
    facts = facts_with()

    apply(facts, received(visits("a", 3.0, other_ids=("b", "c", "a"))))

    assert identifiers(facts, "c") == ("a", "b", "c")
    assert profile(facts, "b").attributes["visits"] == 3.0


def test_delta_may_say_nothing_but_who_belongs_together() -> None:
    facts = facts_with()

    apply(facts, received(joining("a", "b")))

    assert identifiers(facts, "a") == ("a", "b")


def test_customer_of_too_many_identifiers_is_refused_and_nothing_of_the_delta_is_applied() -> None:
    facts = facts_with(limit=3)

    refused = apply(facts, received(visits("a"), visits("b", 5.0, other_ids=("c", "d", "e")), visits("f")))

    assert reasons(refused) == [(1, "TOO_MANY_IDENTIFIERS", False)]
    assert refused[0].error.metadata == {"max_identifiers": "3"}
    assert [facts.profiles.find(each) >= 0 for each in "abcdef"] == [True, False, False, False, False, True]


def test_as_many_identifiers_as_are_allowed_are_joined() -> None:
    facts = facts_with(limit=3)

    assert apply(facts, received(joining("a", "b"))) == []
    assert apply(facts, received(joining("b", "c"))) == []
    assert reasons(apply(facts, received(joining("c", "d")))) == [(0, "TOO_MANY_IDENTIFIERS", False)]
    assert apply(facts, received(joining("a", "c"))) == []
    assert identifiers(facts, "a") == ("a", "b", "c")


def test_link_of_two_customers_that_are_too_many_together_is_refused() -> None:
    facts = facts_with(limit=3)
    apply(facts, linked("a", "b"), linked("c", "d"))

    refused = apply(facts, linked("b", "c"))

    assert reasons(refused) == [(0, "TOO_MANY_IDENTIFIERS", False)]
    assert identifiers(facts, "b") == ("a", "b")


def test_customer_that_a_catalog_finds_too_large_still_takes_deltas_that_name_its_identifiers() -> None:
    facts = facts_with()
    apply(facts, received(joining("a", "b", "c", "d")))
    apply(facts, FIRST._replace(identity=IdentityPolicy(3), version=2))

    refused = apply(facts, received(visits("a", 7.0, other_ids=("b",))))

    assert refused == []
    assert profile(facts, "a").attributes["visits"] == 7.0


def test_identifiers_with_the_same_match_key_are_one_customer() -> None:
    facts = facts_with()

    apply(facts, received(matching("a", KEY)), received(matching("b", OTHER_KEY)), received(matching("c", KEY)))

    assert identifiers(facts, "a") == ("a", "c")
    assert facts.profiles.graph.links(facts.profiles.find("a"))[0].ruled


def test_one_identifier_may_join_holders_of_different_keys() -> None:
    facts = facts_with()

    apply(facts, received(matching("a", KEY), matching("b", OTHER_KEY), matching("c", KEY, OTHER_KEY)))

    assert identifiers(facts, "a") == ("a", "b", "c")


def test_same_key_again_changes_nothing() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)))
    before = digest(facts)

    apply(facts, received(matching("a", KEY), matching("b", KEY)))

    assert digest(facts) == before
    assert len(facts.profiles.graph.links(facts.profiles.find("a"))) == 1


def test_match_that_would_make_too_many_is_refused_and_told_but_the_delta_itself_is_applied() -> None:
    facts = facts_with(limit=2)
    apply(facts, received(matching("a", KEY), matching("b", KEY)))

    refused = apply(facts, received(visits("c", 5.0, match_keys=(KEY,))))

    assert reasons(refused) == [(0, "TOO_MANY_IDENTIFIERS", True)]
    assert profile(facts, "c").attributes["visits"] == 5.0
    assert identifiers(facts, "c") == ("c",)


def test_rule_does_not_join_again_whom_somebody_has_parted() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)), unlinked("a", "b"))

    apply(facts, received(matching("a", KEY), matching("b", KEY)))

    assert identifiers(facts, "a") == ("a",)


def test_rule_does_not_join_them_through_a_third_either() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)), unlinked("a", "b"), linked("b", "c"))

    apply(facts, received(matching("c", KEY)))

    assert identifiers(facts, "a") == ("a",)


def test_parting_outlives_a_snapshot() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)), unlinked("a", "b"))

    again = restored(captured(facts))
    apply(again, received(matching("b", KEY)))

    assert identifiers(again, "a") == ("a",)


def test_somebody_may_join_them_again() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)), unlinked("a", "b"))

    apply(facts, linked("a", "b"))

    assert identifiers(facts, "a") == ("a", "b")


def test_rule_does_not_join_again_whom_somebody_had_joined_too_and_then_parted() -> None:
    facts = facts_with()
    apply(facts, received(matching("a", KEY), matching("b", KEY)), linked("a", "b"), unlinked("a", "b"))

    apply(facts, received(matching("b", KEY)))

    assert identifiers(facts, "a") == ("a",)


def test_parting_of_what_is_not_linked_or_not_known_changes_nothing() -> None:
    facts = facts_with()
    apply(facts, linked("a", "b"), linked("b", "c"))
    before = digest(facts)

    apply(facts, unlinked("a", "c"), unlinked("a", "x"), unlinked("x", "a"), unlinked("x"))

    assert digest(facts) == before


def test_link_makes_identifiers_known() -> None:
    facts = facts_with()

    apply(facts, linked("a", "b"))

    assert (identifiers(facts, "b"), profile(facts, "a").version) == (("a", "b"), 2)


def test_link_of_an_identifier_with_itself_changes_nothing() -> None:
    facts = facts_with()
    apply(facts, received(visits("a", 3.0)))

    apply(facts, linked("a", "a"))

    assert identifiers(facts, "a") == ("a",)
    assert profile(facts, "a").attributes["visits"] == 3.0


def test_change_of_several_identifiers_of_a_customer_in_one_entry_is_seen_whole() -> None:
    facts = facts_with()
    event = Event("purchase")
    apply(facts, received(joining("a", "b", "c")))

    apply(facts, received(*(ProfileDelta(each, NOON_US, event) for each in "abca")))

    assert profile(facts, "b").attributes["purchases"] == 4.0


def test_delta_is_refused_before_anything_of_it_is_applied() -> None:
    facts = facts_with()

    with pytest.raises(OpportuneError) as refused:
        facts.compile(ProfileDelta("a", NOON_US, AttributeUpdates(set={"visits": 1.0, "vists": 1.0})))

    assert refused.value.reason is ErrorReason.INVALID_FIELD
    assert len(facts.profiles) == 0
