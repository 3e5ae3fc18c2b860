import gc
from typing import Any

import pytest

from server.domain.decision import Decision
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.answered import AnsweredRequests
from tests.support.catalogs import catalog_document, offer_entry
from tests.support.service import Service


def test_answer_is_found_for_the_same_request() -> None:
    answered: AnsweredRequests[str] = AnsweredRequests()

    answered.remember("r1", ("body",), "answer")

    assert answered.find("r1", ("body",)) == "answer"
    assert answered.find("r2", ("body",)) is None


def test_another_body_is_refused() -> None:
    answered: AnsweredRequests[str] = AnsweredRequests()
    answered.remember("r1", ("body",), "answer")

    with pytest.raises(OpportuneError) as refused:
        answered.find("r1", ("other",))

    assert refused.value.reason is ErrorReason.REQUEST_ID_REUSED


def test_request_without_an_id_is_never_found() -> None:
    answered: AnsweredRequests[str] = AnsweredRequests()

    answered.remember("", ("body",), "answer")

    assert answered.find("", ("body",)) is None


def test_oldest_answers_are_forgotten_first() -> None:
    answered: AnsweredRequests[bytes] = AnsweredRequests(max_bytes=100_000)

    for number in range(11):
        answered.remember(str(number), (), bytes(9_000))

    assert answered.find("0", ()) is None
    assert answered.find("1", ()) == bytes(9_000)
    assert answered.find("10", ()) == bytes(9_000)


def test_answers_are_forgotten_after_a_day() -> None:
    time_s = 0.0
    answered: AnsweredRequests[str] = AnsweredRequests(lambda: time_s)
    answered.remember("r1", (), "answer")

    time_s = 24 * 3600 - 1
    assert answered.find("r1", ()) == "answer"
    time_s = 24 * 3600
    assert answered.find("r1", ()) is None


@pytest.mark.parametrize("asked", [{}, {"include_content": True}, {"full_view": True}])
def test_decision_is_found_as_it_was(asked: dict[str, Any]) -> None:
    service = Service(catalog_document([offer_entry("a"), offer_entry("b", eligible="false"), offer_entry("c")]))
    decision = service.rank(**asked)
    answered: AnsweredRequests[Decision] = AnsweredRequests()

    answered.remember("r1", (), decision)

    assert answered.find("r1", ()) == decision


def test_answer_that_is_larger_than_all_may_be_is_not_kept() -> None:
    answered: AnsweredRequests[bytes] = AnsweredRequests(max_bytes=100_000)
    answered.remember("r1", (), b"small")

    answered.remember("r2", (), bytes(100_000))

    assert answered.find("r1", ()) == b"small"
    assert answered.find("r2", ()) is None


def test_collector_has_nothing_to_walk_in_what_is_remembered() -> None:
    service = Service(catalog_document([offer_entry("a")]))
    answered: AnsweredRequests[Decision] = AnsweredRequests()
    decisions = [service.rank() for _ in range(1_000)]
    gc.collect()
    before = len(gc.get_objects())

    for number, decision in enumerate(decisions):
        answered.remember(str(number), (), decision)
    gc.collect()

    # What is left are the links of the cache, one for each answer.
    assert len(gc.get_objects()) - before < 1_100


def test_answers_about_a_customer_are_forgotten() -> None:
    answered: AnsweredRequests[str] = AnsweredRequests()
    answered.remember("r1", (), "of one", "loyalty:1")
    answered.remember("r2", (), "of another", "loyalty:2")

    answered.forget({"loyalty:1", "loyalty:3"})

    assert answered.find("r1", ()) is None
    assert answered.find("r2", ()) == "of another"
