"""ReportOutcomes and ListOfferResults."""

import math
from typing import Any

import pytest

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind
from server.domain.decision import Decision, parse_token
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.outcome import Attribution, DecisionRef, Outcome
from server.execution.outcomes import MAX_OUTCOMES, ListOfferResults, OutcomesRecorded
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON_US
from tests.support.direct_writer import at_once
from tests.support.service import Service, offer_ids

A_DAY = 86_400_000_000


@pytest.fixture
def service() -> Service:
    offers = [offer_entry("a", 2.0), offer_entry("b", 1.0)]
    counted = [{"id": "accepted", "event": "offer_accepted", "op": "count"}]
    counted += [{"id": "earned", "event": "offer_converted", "op": "sum", "property": "revenue"}]
    return Service(
        catalog_document(
            offers, [placement_entry(), placement_entry("mail"), placement_entry("app")], aggregates=counted
        )
    )


def token(decision: Decision, slot: int = 0) -> DecisionRef:
    found = parse_token(decision.offers[slot].attribution_token)
    assert found is not None
    return DecisionRef(*found)


def outcome(name: str, kind: ContactKind = ContactKind.IMPRESSION, **more: Any) -> Outcome:
    return Outcome(name, kind, more.pop("event_time_us", NOON_US), more.pop("decision", None), **more)


def recorded(service: Service, *outcomes: Outcome | OpportuneError) -> OutcomesRecorded:
    return at_once(service.reporter(outcomes))


def test_outcome_with_a_token_belongs_to_its_decision(service: Service) -> None:
    service.rank()
    decision = service.rank()

    (answer,) = recorded(service, outcome("o1", decision=token(decision, 1))).answers

    assert answer == (Attribution.ATTRIBUTED, decision.decision_id, None)


def test_outcome_without_a_token_belongs_to_the_latest_decision_that_showed_the_offer(service: Service) -> None:
    service.rank()
    latest = service.rank()
    elsewhere = service.rank(placement_id="mail")
    somebody: dict[str, Any] = {"customer_id": "customer:1", "offer_id": "b"}

    anywhere, at_home, nowhere = recorded(
        service,
        outcome("o1", **somebody),
        outcome("o2", **somebody, placement_id="home"),
        outcome("o3", **somebody, placement_id="app"),
    ).answers

    assert anywhere.decision_id == elsewhere.decision_id
    assert at_home.decision_id == latest.decision_id
    assert nowhere.attribution is Attribution.UNATTRIBUTED


@pytest.mark.parametrize(
    ("days", "attribution"), [(7, Attribution.LATE), (7.001, Attribution.UNATTRIBUTED)], ids=["within", "behind"]
)
def test_attribution_window_ends(service: Service, days: float, attribution: Attribution) -> None:
    service.rank()
    service.clock.advance(days=days)

    found = service.report(
        outcome("o1", customer_id="customer:1", offer_id="a", event_time_us=microseconds_of(service.clock.now))
    )

    assert found == [attribution]


def test_second_report_of_the_same_outcome_changes_nothing(service: Service) -> None:
    ref = token(service.rank())
    accepted = outcome("o1", ContactKind.ACCEPTED, decision=ref, revenue=5.0)

    assert service.report(accepted, accepted) == [Attribution.ATTRIBUTED, Attribution.REPEATED]
    assert service.report(accepted) == [Attribution.REPEATED]
    assert service.attributes()["accepted"] == 1.0


def test_further_outcome_of_a_contact_brings_its_revenue_and_reaches_no_stage_twice(service: Service) -> None:
    ref = token(service.rank())

    service.report(
        outcome("o1", ContactKind.CONVERTED, decision=ref, revenue=5.0, profit=2.0),
        outcome("o2", ContactKind.CONVERTED, decision=ref, revenue=3.0, profit=-1.0),
    )

    ((result,), _) = ListOfferResults(service.state)(0, "")
    assert (result.revenue, result.profit) == (8.0, 1.0)
    assert result.contacts[ContactKind.CONVERTED] == result.contacts[ContactKind.IMPRESSION] == 1
    assert result.contacts[ContactKind.CLICK] == 0
    assert service.attributes()["earned"] == 8.0


def test_outcome_of_an_unknown_decision_is_recorded_as_unattributed(service: Service) -> None:
    known = token(service.rank())
    unknown = [known._replace(number=99), known._replace(tag=known.tag ^ 1), known._replace(slot=7)]

    found = service.report(*(outcome(f"o{n}", decision=ref) for n, ref in enumerate(unknown)))

    assert found == [Attribution.UNATTRIBUTED] * 3
    assert service.report(outcome("o0", decision=known)) == [Attribution.REPEATED]


def test_unattributed_contact_counts_for_the_customers_caps() -> None:
    capped = offer_entry("a", caps=[{"count": 1, "window": "1d"}])
    service = Service(catalog_document([capped, offer_entry("b", 0.5)]))
    service.report(outcome("o1", customer_id="customer:1", offer_id="a"))

    assert offer_ids(service.rank()) == ["b"]
    assert offer_ids(service.rank("customer:2")) == ["a", "b"]


def test_outcome_after_the_hold_is_late(service: Service) -> None:
    ref = token(service.rank())
    service.clock.advance(minutes=16)

    assert service.report(outcome("o1", decision=ref)) == [Attribution.LATE]


def test_what_cannot_be_an_outcome_is_answered_on_its_own(service: Service) -> None:
    ref = token(service.rank())
    bad: list[Outcome | OpportuneError] = [
        outcome("a b", decision=ref),
        outcome("o1", ContactKind.DECISION, decision=ref),
        outcome("o1", customer_id="x y", offer_id="a"),
        outcome("o1", customer_id="customer:1"),
        outcome("o1", decision=ref, revenue=-1.0),
        outcome("o1", decision=ref, profit=math.nan),
        outcome("o1", decision=ref, revenue=1.1e12),
        outcome("o1", decision=ref, revenue=math.nan),
        outcome("o1", decision=ref, profit=1.7e308),
        outcome("o1", decision=ref, profit=-1.1e12),
        outcome("o1", decision=ref, event_time_us=-1),
        OpportuneError(ErrorReason.INVALID_FIELD, "unreadable"),
    ]

    answers = recorded(service, *bad, outcome("good", decision=ref)).answers

    assert [answer.attribution for answer in answers] == [None] * len(bad) + [Attribution.ATTRIBUTED]
    assert all(answer.error is not None and answer.error.reason is ErrorReason.INVALID_FIELD for answer in answers[:-1])
    fields = [violation.field for answer in answers[:-2] if answer.error for violation in answer.error.violations]
    names = ["outcome_id", "kind", "customer_id", "offer_id", "revenue", "profit"]
    names += ["revenue", "revenue", "profit", "profit", "event_time"]
    assert fields == [f"outcomes[{place}].{name}" for place, name in enumerate(names)]


@pytest.mark.parametrize("count", [0, MAX_OUTCOMES + 1])
def test_request_without_outcomes_or_with_too_many_is_refused(service: Service, count: int) -> None:
    with pytest.raises(OpportuneError, match="must be 1 to 1,000"):
        recorded(service, *(outcome(str(number)) for number in range(count)))


def test_nothing_is_written_if_everything_is_refused(service: Service) -> None:
    before = service.state.facts.offset

    recorded(service, outcome("a b"))

    assert service.state.facts.offset == before


def test_outcome_without_a_token_before_the_first_catalog_is_refused_alone() -> None:
    service = Service()

    named, by_token = recorded(
        service,
        outcome("o1", customer_id="customer:1", offer_id="a"),
        outcome("o2", decision=DecisionRef(1, 2, 0), revenue=1e12, profit=-1e12),
    ).answers

    assert named.error is not None
    assert (named.attribution, named.error.reason) == (None, ErrorReason.NO_CATALOG)
    assert by_token.attribution is Attribution.UNATTRIBUTED


def test_outcome_without_a_token_about_what_no_catalog_ever_had_is_refused_alone(service: Service) -> None:
    somebody: dict[str, Any] = {"customer_id": "customer:1"}

    *unknown, known = recorded(
        service,
        outcome("o1", offer_id="c", **somebody),
        outcome("o2", offer_id="a", placement_id="nowhere", **somebody),
        outcome("o3", offer_id="a", placement_id="home", **somebody),
    ).answers

    reasons = [answer.error.reason for answer in unknown if answer.error is not None]
    assert reasons == [ErrorReason.OFFER_NOT_FOUND, ErrorReason.PLACEMENT_NOT_FOUND]
    assert known.attribution is Attribution.UNATTRIBUTED
    assert {subject.offer_id for subject in service.state.facts.contacts.subjects} == {"a"}


def test_outcome_about_an_offer_that_was_withdrawn_is_attributed_if_anybody_was_shown_it(service: Service) -> None:
    service.rank(placement_id="mail")
    service.publish(catalog_document([offer_entry("new")]))
    somebody: dict[str, Any] = {"customer_id": "customer:1", "offer_id": "a"}

    shown, elsewhere = recorded(
        service, outcome("o1", placement_id="mail", **somebody), outcome("o2", placement_id="app", **somebody)
    ).answers

    assert shown.attribution is Attribution.ATTRIBUTED
    assert elsewhere.error is not None
    assert elsewhere.error.reason is ErrorReason.PLACEMENT_NOT_FOUND


def test_outcome_is_known_to_the_next_ranking(service: Service) -> None:
    offers = [offer_entry("a", 2.0, eligible="history.offer_declined_30d == 0"), offer_entry("b", 1.0)]
    service.publish(catalog_document(offers))
    ref = token(service.rank())

    service.report(outcome("o1", ContactKind.DECLINED, decision=ref))

    assert offer_ids(service.rank()) == ["b"]


def test_results_are_paged_by_offer_whatever_placement_showed_it(service: Service) -> None:
    refs = [token(service.rank(placement_id=place), slot) for place in ("home", "mail") for slot in (0, 1)]
    service.report(*(outcome(f"o{n}", ContactKind.CLICK, decision=ref) for n, ref in enumerate(refs)))
    listed = ListOfferResults(service.state)

    first, after = listed(1, "")
    second, end = listed(1, after)

    assert [(r.offer_id, r.contacts[ContactKind.CLICK]) for r in [*first, *second]] == [("a", 2), ("b", 2)]
    assert end == ""
    for size, page_token in ((-1, ""), (1, "no token")):
        with pytest.raises(OpportuneError):
            listed(size, page_token)
