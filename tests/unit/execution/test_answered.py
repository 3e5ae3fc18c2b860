import pytest

from server.domain.decision import Decision
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.answered import REMEMBERED, AnsweredRequests
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
    answered: AnsweredRequests[int] = AnsweredRequests()

    for number in range(REMEMBERED + 1):
        answered.remember(str(number), (), number)

    assert answered.find("0", ()) is None
    assert answered.find("1", ()) == 1
    assert answered.find(str(REMEMBERED), ()) == REMEMBERED


def test_explained_decisions_count_as_many_as_they_explain() -> None:
    service = Service(catalog_document([offer_entry(f"o{number}", eligible="false") for number in range(99)]))
    explained = service.rank(full_view=True)
    assert explained.explanation is not None
    assert len(explained.explanation.exclusions) == 99
    answered: AnsweredRequests[Decision] = AnsweredRequests()

    for number in range(REMEMBERED // 100 + 1):
        answered.remember(str(number), (), explained)

    assert answered.find("0", ()) is None
    assert answered.find("1", ()) == explained
    assert answered.find(str(REMEMBERED // 100), ()) == explained


def test_content_and_long_rankings_count_as_more() -> None:
    service = Service(catalog_document([offer_entry("a"), offer_entry("b")]))
    plain, filled = service.rank(), service.rank(include_content=True)
    long = plain._replace(ranking=plain.ranking._replace(shown=[*plain.ranking.shown] * 32))
    for decision, weight in ((plain, 1), (filled, 3), (long, 3)):
        answered: AnsweredRequests[Decision] = AnsweredRequests()
        for number in range(REMEMBERED // weight + 1):
            answered.remember(str(number), (), decision)

        assert answered.find("0", ()) is None
        assert answered.find("1", ()) == decision


def test_answer_that_is_larger_than_all_may_be_is_remembered_alone() -> None:
    service = Service(catalog_document([offer_entry("a"), offer_entry("b", eligible="false")]))
    explained = service.rank(full_view=True)
    assert explained.explanation is not None
    exclusions = explained.explanation.exclusions * (REMEMBERED + 1)
    huge = explained._replace(explanation=explained.explanation._replace(exclusions=exclusions))
    answered: AnsweredRequests[Decision] = AnsweredRequests()

    answered.remember("r1", (), explained)
    answered.remember("r2", (), huge)

    assert answered.find("r1", ()) is None
    assert answered.find("r2", ()) is huge
