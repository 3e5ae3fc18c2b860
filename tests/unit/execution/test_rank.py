from datetime import timedelta
from typing import Any

import pytest

from server.domain.decision import Context, RankQuery
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.rank import MAX_CANDIDATES, MAX_CONTEXT_ATTRIBUTES, MAX_LOCALE_BYTES
from server.intelligence.conditions.lexer import MAX_BYTES
from tests.support.catalogs import catalog_document, offer_entry
from tests.support.clock import NOON
from tests.support.folds import linked
from tests.support.service import Service, offer_ids

DOCUMENT = catalog_document([offer_entry("a", 1.0), offer_entry("b", 2.0, eligible="customer.visits > 5")])


@pytest.fixture
def service() -> Service:
    return Service(DOCUMENT)


def refusal(service: Service, **query: Any) -> OpportuneError:
    with pytest.raises(OpportuneError) as refused:
        service.rank(**query)
    return refused.value


def test_time_is_the_clocks_unless_the_context_has_one(service: Service) -> None:
    service.clock.advance(hours=1)

    assert service.rank().time == NOON + timedelta(hours=1)
    assert service.rank(time=NOON).time == NOON


def test_schedules_follow_the_clock() -> None:
    service = Service(catalog_document([offer_entry("a", schedule={"end": NOON + timedelta(hours=1)})]))

    before = service.rank()
    service.clock.advance(hours=1)
    after = service.rank()

    assert (offer_ids(before), offer_ids(after)) == (["a"], [])


def test_questions_about_other_times_do_not_disturb_each_other() -> None:
    hours = [NOON + timedelta(hours=n) for n in range(5)]
    offers = [offer_entry(str(n), schedule={"start": hours[n], "end": hours[n + 2]}) for n in range(3)]
    service = Service(catalog_document(offers))

    pairs = [(first, second) for first in range(5) for second in range(5)]
    shown = {pair: [set(offer_ids(service.rank(time=hours[n]))) for n in pair] for pair in pairs}

    alone = [{"0"}, {"0", "1"}, {"1", "2"}, {"2"}, set()]
    assert shown == {(first, second): [alone[first], alone[second]] for first, second in pairs}


def test_every_decision_has_a_new_id(service: Service) -> None:
    ids = [service.rank().decision_id for _ in range(3)]

    assert [int(decision_id[:16], 16) for decision_id in ids] == [1, 2, 3]
    assert len({decision_id[16:] for decision_id in ids}) == 3


def test_repeated_request_gets_the_first_decision_whatever_has_changed_since(service: Service) -> None:
    first = service.rank(request_id="r1")
    service.set(visits=10.0)
    service.clock.advance(hours=1)

    assert service.rank(request_id="r1") == first
    assert offer_ids(service.rank(request_id="r2")) == ["b", "a"]


def test_repeated_request_with_another_body_is_refused(service: Service) -> None:
    service.rank(request_id="r1")

    error = refusal(service, request_id="r1", max_offers=1)

    assert error.reason is ErrorReason.REQUEST_ID_REUSED
    assert error.metadata == {"request_id": "r1"}


def test_requests_without_an_id_are_not_remembered(service: Service) -> None:
    assert service.rank().decision_id != service.rank().decision_id


def test_refused_request_is_not_remembered(service: Service) -> None:
    behind = service.state.profile_version + 1
    refusal(service, request_id="r1", min_profile_version=behind)
    service.set(visits=10.0)

    assert service.rank(request_id="r1", min_profile_version=behind).profile_version == behind


def test_validated_request_is_answered_but_not_remembered(service: Service) -> None:
    first = service.rank(request_id="r1", validate_only=True)
    second = service.rank(request_id="r1", validate_only=True)

    assert offer_ids(first) == offer_ids(second) == ["a"]
    assert first.decision_id != second.decision_id
    assert service.rank(request_id="r1").decision_id[:16] == f"{1:016x}"


def test_request_that_was_answered_may_be_tried_out_once_more(service: Service) -> None:
    first = service.rank(request_id="r1")
    service.set(visits=10.0)

    tried = service.rank(request_id="r1", validate_only=True)

    assert offer_ids(tried) == ["b", "a"]
    assert service.rank(request_id="r1") == first


def test_order_of_context_attributes_does_not_make_another_request(service: Service) -> None:
    first = service.rank(request_id="r1", context={"hour": 1.0, "device": "phone"})

    assert service.rank(request_id="r1", context={"device": "phone", "hour": 1.0}) == first


def test_caller_reads_what_it_has_written(service: Service) -> None:
    version = service.set(visits=10.0).profile_version

    assert offer_ids(service.rank(min_profile_version=version)) == ["b", "a"]


def test_profile_that_is_not_there_yet_is_behind(service: Service) -> None:
    version = service.set(visits=10.0).profile_version

    error = refusal(service, min_profile_version=version + 1)

    assert error.reason is ErrorReason.PROFILE_BEHIND
    assert error.metadata == {"profile_version": str(version)}
    assert error.retry_after_ms


def test_server_without_a_catalog_says_so() -> None:
    assert refusal(Service()).reason is ErrorReason.NO_CATALOG


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": "x" * 129}, "customer_id"),
        ({"placement_id": ""}, "placement_id"),
        ({"placement_id": "a b"}, "placement_id"),
        ({"request_id": "a b"}, "request_id"),
        ({"max_offers": -1}, "max_offers"),
        ({"min_profile_version": -1}, "min_profile_version"),
        ({"candidate_offer_ids": ("a", "")}, "candidate_offer_ids[1]"),
        ({"candidate_offer_ids": ("a",) * (MAX_CANDIDATES + 1)}, "candidate_offer_ids"),
        ({"locale": "x" * (MAX_LOCALE_BYTES + 1)}, "context.locale"),
        ({"context": {f"x{n}": 1.0 for n in range(MAX_CONTEXT_ATTRIBUTES + 1)}}, "context.attributes"),
        ({"filter": "x" * (MAX_BYTES + 1)}, "filter"),
    ],
)
def test_field_that_is_out_of_bounds_is_refused(service: Service, query: dict[str, Any], field: str) -> None:
    error = refusal(service, **query)

    assert error.reason is ErrorReason.INVALID_FIELD
    assert [violation.field for violation in error.violations] == [field]


def test_bounds_themselves_are_allowed(service: Service) -> None:
    candidates = tuple(f"x{n}" for n in range(MAX_CANDIDATES - 1))

    decision = service.rank("x" * 128, candidate_offer_ids=(*candidates, "a"), locale="x" * MAX_LOCALE_BYTES)

    assert offer_ids(decision) == ["a"]


def test_query_is_checked_before_the_catalog_is_looked_at() -> None:
    with pytest.raises(OpportuneError) as refused:
        Service().ranker(RankQuery("", "home", Context()))

    assert refused.value.reason is ErrorReason.INVALID_FIELD


def test_contacts_count_across_all_identifiers_of_a_customer() -> None:
    service = Service(catalog_document([offer_entry("a", eligible="history.decisions_7d < 2.0")]))
    service.set("cookie", visits=1.0)
    service.set("card", visits=1.0)
    service.writer.write(linked("cookie", "card"))

    shown = [offer_ids(service.rank(customer_id)) for customer_id in ("cookie", "card", "cookie", "card")]

    assert shown == [["a"], ["a"], [], []]
