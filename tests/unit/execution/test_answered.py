import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.execution.answered import REMEMBERED, AnsweredRequests


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
