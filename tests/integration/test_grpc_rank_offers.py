"""RankOffers over both transports: the answer, and what explains it."""

from datetime import UTC, datetime

import pytest
from opportune.v1 import decision_pb2, decision_service_pb2

from tests.integration.catalogs import OFFER_IDS, SIGNALS
from tests.integration.connection import Connection, consent, context, delta
from tests.integration.tiny_model import propensity

FULL = decision_pb2.DECISION_VIEW_FULL


def ids(decision: decision_pb2.Decision) -> list[str]:
    return [offer.offer_id for offer in decision.offers]


def reasons(decision: decision_pb2.Decision) -> dict[str, str]:
    return {
        exclusion.offer_id: decision_pb2.Reason.Name(exclusion.reason).removeprefix("REASON_")
        for exclusion in decision.exclusions
    }


async def test_best_offers_of_a_known_customer_come_first_by_expected_value(server: Connection) -> None:
    await server.apply_deltas(delta("rank:gold", visits=10, tier="gold"))

    decision = await server.rank("rank:gold", context=context(hour=20))

    assert ids(decision) == ["gold-only", "welcome"]
    assert decision.result == decision_pb2.RESULT_RANKED
    assert decision.rung == decision_pb2.RUNG_FULL
    assert decision.model_version == "tiny/1"
    assert decision.catalog_version == 1


async def test_propensity_value_and_expected_value_are_those_of_model_and_catalog(server: Connection) -> None:
    await server.apply_deltas(delta("rank:worth", visits=10))

    decision = await server.rank("rank:worth", context=context(hour=20))

    offer = decision.offers[0]
    assert offer.offer_id == "welcome"
    assert offer.value == 5.0
    assert offer.propensity == pytest.approx(propensity(10, 20, 0.2), abs=1e-6)
    assert offer.expected_value == pytest.approx(offer.propensity * 5.0)
    assert offer.selection_probability == 1.0


async def test_decision_names_request_time_and_versions(server: Connection) -> None:
    applied = await server.apply_deltas(delta("rank:named", visits=1))
    moment = datetime(2024, 2, 29, 12, 30, 0, 123456, tzinfo=UTC)
    at = decision_service_pb2.Context()
    at.time.FromDatetime(moment)

    decision = await server.rank("rank:named", context=at)

    assert (decision.customer_id, decision.placement_id) == ("rank:named", "home")
    assert decision.create_time.ToDatetime(UTC) == moment
    assert decision.profile_version >= applied.profile_version
    assert len(decision.decision_id) == 32
    assert all(digit in "0123456789abcdef" for digit in decision.decision_id)


async def test_tokens_and_decision_ids_differ_from_call_to_call(server: Connection) -> None:
    first = await server.rank("rank:twice")
    second = await server.rank("rank:twice")

    assert first.decision_id != second.decision_id
    tokens = [offer.attribution_token for decision in (first, second) for offer in decision.offers]
    assert all(tokens)
    assert len(set(tokens)) == len(tokens) == 4


async def test_unknown_customer_is_ranked_as_a_new_one(server: Connection) -> None:
    decision = await server.rank("nobody:knows-me")

    assert ids(decision) == ["welcome", "small"]
    assert decision.rung == decision_pb2.RUNG_FULL
    assert decision.offers[0].propensity == pytest.approx(propensity(0, 0, 0.2), abs=1e-6)


async def test_basic_view_explains_nothing(server: Connection) -> None:
    decision = await server.rank("rank:basic")

    assert not decision.exclusions
    assert not decision.timings
    assert not any(offer.conditions_met or offer.model_inputs or offer.content for offer in decision.offers)


async def test_full_view_accounts_for_every_candidate_once(server: Connection) -> None:
    decision = await server.rank("rank:full", view=FULL)

    excluded = [exclusion.offer_id for exclusion in decision.exclusions]
    assert sorted(ids(decision) + excluded) == sorted(OFFER_IDS)
    assert excluded == [offer for offer in OFFER_IDS if offer in excluded]
    assert all(exclusion.detail for exclusion in decision.exclusions)


async def test_each_reason_is_named_with_what_failed(server: Connection) -> None:
    decision = await server.rank("rank:reasons", view=FULL, max_offers=1, filter="offer.level <= 0.3")

    assert ids(decision) == ["welcome"]
    assert reasons(decision) == {
        "gold-only": "FILTER",
        "big-spender": "FILTER",
        "expired": "SCHEDULE",
        "mail-only": "NO_CREATIVE",
        "evening": "CONDITION",
        "small": "LOST",
    }
    details = {exclusion.offer_id: exclusion.detail for exclusion in decision.exclusions}
    assert 'context.daypart == "evening"' in details["evening"]
    assert "offer.level <= 0.3" in details["gold-only"]
    assert "2020-01-01" in details["expired"]
    assert "USD" in details["small"]


async def test_full_view_says_which_conditions_held_part_by_part(server: Connection) -> None:
    await server.apply_deltas(delta("rank:conditions", visits=3, tier="gold"))

    decision = await server.rank("rank:conditions", view=FULL)

    met = {offer.offer_id: list(offer.conditions_met) for offer in decision.offers}
    assert met == {"gold-only": ['customer.tier == "gold"', "customer.visits > 1.0"], "welcome": []}


async def test_full_view_says_what_the_model_was_given(server: Connection) -> None:
    await server.apply_deltas(delta("rank:inputs", visits=3))

    decision = await server.rank("rank:inputs", view=FULL, max_offers=1)

    inputs = decision.offers[0].model_inputs
    assert dict(inputs) == {"customer.visits": 3.0, "offer.level": pytest.approx(0.2)}


async def test_full_view_times_the_stages_in_order(server: Connection) -> None:
    decision = await server.rank("rank:timings", view=FULL)

    stages = [timing.stage for timing in decision.timings]
    assert [stage for stage in stages if stage in ("eligibility", "model", "arbitration")] == [
        "eligibility",
        "model",
        "arbitration",
    ]
    assert sum(timing.duration.ToNanoseconds() for timing in decision.timings) > 0


async def test_content_comes_when_asked_for_and_in_the_language_of_the_context(server: Connection) -> None:
    german = decision_service_pb2.Context(locale="de-AT")

    decision = await server.rank("rank:content", context=german, include_content=True)

    welcome = next(offer for offer in decision.offers if offer.offer_id == "welcome")
    assert welcome.creative_id == "welcome-web-de"
    assert dict(welcome.content) == {"title": "Grüß Gott"}


async def test_context_channel_chooses_among_the_channels_of_the_placement(server: Connection) -> None:
    decision = await server.rank("rank:channel", context=decision_service_pb2.Context(channel="email"))

    creatives = {offer.offer_id: offer.creative_id for offer in decision.offers}
    assert creatives == {"welcome": "welcome-mail", "mail-only": "mail-only-mail"}


async def test_more_offers_than_slots_are_coerced_down_and_fewer_are_obeyed(server: Connection) -> None:
    # Three offers are eligible for this customer, and the placement has two slots.
    await server.apply_deltas(delta("rank:many", visits=10, tier="gold"))

    many = await server.rank("rank:many", max_offers=2_147_483_647)
    one = await server.rank("rank:many", max_offers=1)

    assert len(many.offers) == 2
    assert len(one.offers) == 1


async def test_named_candidates_are_the_only_ones_and_unknown_ones_are_excluded_with_a_reason(
    server: Connection,
) -> None:
    decision = await server.rank(
        "rank:named-ids", view=FULL, candidate_offer_ids=["small", "no-such", "small", "evening"]
    )

    assert ids(decision) == ["small"]
    assert reasons(decision) == {"no-such": "UNKNOWN_OFFER", "evening": "CONDITION"}


async def test_order_by_sorts_ascending_unless_it_says_desc(server: Connection) -> None:
    ascending = await server.rank("rank:order", order_by="value")
    descending = await server.rank("rank:order", order_by="value desc")
    by_attribute = await server.rank("rank:order", order_by="offer.level desc", context=context(daypart="evening"))

    assert ids(ascending) == ["small", "welcome"]
    assert ids(descending) == ["welcome", "small"]
    assert ids(by_attribute)[0] == "welcome"


async def test_placement_without_a_model_ranks_by_value_and_says_so(server: Connection) -> None:
    decision = await server.rank("rank:no-model", "newsletter")

    assert ids(decision) == ["welcome", "mail-only"]
    assert decision.model_version == ""
    assert [offer.propensity for offer in decision.offers] == [0.0, 0.0]


async def test_model_that_cannot_score_leads_to_the_fallback_offers_that_are_eligible(server: Connection) -> None:
    decision = await server.rank("rank:fallback", "fragile", view=FULL)

    assert decision.rung == decision_pb2.RUNG_DEFAULT
    assert ids(decision) == ["small", "welcome"]
    assert decision.model_version == ""
    assert [offer.propensity for offer in decision.offers] == [0.0, 0.0]
    assert reasons(decision)["big-spender"] == "CONDITION"


async def test_nothing_to_offer_is_an_answer(server: Connection) -> None:
    decision = await server.rank("rank:nothing", "kiosk", view=FULL)

    assert not decision.offers
    assert decision.result == decision_pb2.RESULT_NO_ELIGIBLE_OFFER
    assert set(reasons(decision)) == set(OFFER_IDS)


async def test_disabled_placement_is_an_answer(server: Connection) -> None:
    decision = await server.rank("rank:off", "off")

    assert not decision.offers
    assert decision.result == decision_pb2.RESULT_PLACEMENT_DISABLED


async def test_attribute_with_a_purpose_is_missing_until_consent_is_granted_and_again_when_withdrawn(
    server: Connection,
) -> None:
    customer = "rank:consent"
    await server.apply_deltas(delta(customer, spend=500))

    before = await server.rank(customer, view=FULL)
    await server.apply_deltas(consent(customer, True))
    granted = await server.rank(customer, view=FULL)
    await server.apply_deltas(consent(customer, False))
    withdrawn = await server.rank(customer, view=FULL)

    assert reasons(before)["big-spender"] == "CONDITION"
    assert ids(granted)[0] == "big-spender"
    assert reasons(withdrawn)["big-spender"] == "CONDITION"


async def test_repeated_request_id_returns_the_first_decision_unchanged(server: Connection) -> None:
    first = await server.rank("rank:retry", request_id="rank-retry-1", view=FULL)
    await server.apply_deltas(delta("rank:retry", visits=40, tier="gold"))

    again = await server.rank("rank:retry", request_id="rank-retry-1", view=FULL)

    assert again == first
    assert ids(await server.rank("rank:retry")) != ids(first)


async def test_validate_only_is_not_remembered_under_its_request_id(server: Connection) -> None:
    await server.rank("rank:dry", request_id="rank-dry-1", validate_only=True)

    decision = await server.rank("rank:dry", request_id="rank-dry-1")

    assert decision.offers


async def test_retry_whose_map_entries_come_in_another_order_is_the_same_request(server: Connection) -> None:
    path = "/opportune.v1.DecisionService/RankOffers"
    head = decision_service_pb2.RankOffersRequest(customer_id="rank:maps", placement_id="home", request_id="rank-maps")
    # Parts of a message that are sent one after another are merged, so each entry can be a context of its own.
    entries = [
        decision_service_pb2.RankOffersRequest(context=context(**{signal: 1.0})).SerializeToString()
        for signal in SIGNALS
    ]
    orders = [entries[turn:] + entries[:turn] for turn in range(len(entries))]
    orders += [order[::-1] for order in orders]

    answers = {await server.send(path, head.SerializeToString() + b"".join(order)) for order in orders}

    assert len(answers) == 1


async def test_min_profile_version_that_was_acknowledged_is_read(server: Connection) -> None:
    applied = await server.apply_deltas(delta("rank:writes", visits=9, tier="gold"))

    decision = await server.rank("rank:writes", min_profile_version=applied.profile_version)

    assert ids(decision)[0] == "gold-only"
    assert decision.profile_version >= applied.profile_version


async def test_future_schedules_and_ages_are_read_at_the_time_of_the_context(server: Connection) -> None:
    past = decision_service_pb2.Context()
    past.time.FromDatetime(datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC))
    end = decision_service_pb2.Context()
    end.time.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))

    assert "expired" in ids(await server.rank("rank:past", context=past))
    assert "expired" not in ids(await server.rank("rank:past", context=end))
