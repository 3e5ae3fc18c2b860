"""Remembers the answers to request ids, so that a retry gets the first answer and not a second effect."""

from collections.abc import Callable
from hashlib import blake2b
from time import monotonic
from typing import Generic, TypeVar

from cachetools import TTLCache

from server.domain.decision import Decision
from server.domain.errors import ErrorReason, OpportuneError

REMEMBERED = 100_000
"""Two kilobytes are what an answer takes that was not explained, so that these are 200 MB."""

REMEMBERED_S = 24 * 3600
SHOWN_AT_ONCE = 32
"""So many offers of an answer take another two kilobytes."""

Answer = TypeVar("Answer")


class AnsweredRequests(Generic[Answer]):
    """The last 100,000 answers of the last 24 hours, by request id. Under more than that the oldest are forgotten.

    An explained decision counts as many, by what was explained: there may be thousands of objects in it, which memory
    must hold, and which the garbage collector walks again and again.
    """

    def __init__(self, timer: Callable[[], float] = monotonic) -> None:
        """Starts with none; `timer` counts seconds."""
        self._answers: TTLCache[str, tuple[bytes, Answer]] = TTLCache(REMEMBERED, REMEMBERED_S, timer, _weight)

    def find(self, request_id: str, body: object) -> Answer | None:
        """The first answer to a request id, None if there is none. Bodies are told apart by their `repr`.

        Raises:
            OpportuneError: REQUEST_ID_REUSED if the first request had another body.
        """
        known = self._answers.get(request_id) if request_id else None
        if known is None:
            return None
        if known[0] != _fingerprint(body):
            message = f"request_id {request_id} was used with another request within 24 hours"
            raise OpportuneError(ErrorReason.REQUEST_ID_REUSED, message, {"request_id": request_id})
        return known[1]

    def remember(self, request_id: str, body: object, answer: Answer) -> None:
        """Keeps an answer for retries; without a request id there is nothing to keep."""
        if request_id:
            self._answers[request_id] = (_fingerprint(body), answer)

    def forget(self, which: Callable[[Answer], bool]) -> None:
        """Forgets some answers. Looks at all of them, a few milliseconds at most."""
        for request_id in [name for name, (_, answer) in list(self._answers.items()) if which(answer)]:
            self._answers.pop(request_id, None)


def _weight(known: tuple[bytes, object]) -> int:
    """As how many answers one counts."""
    answer = known[1]
    if not isinstance(answer, Decision):
        return 1
    weight = 1 + len(answer.ranking.shown) // SHOWN_AT_ONCE + len(answer.ranking.contents)
    if answer.explanation is not None:
        weight += len(answer.explanation.exclusions)
        weight += sum(len(offer.model_inputs) for offer in answer.explanation.offers)
    return min(weight, REMEMBERED)


def _fingerprint(body: object) -> bytes:
    return blake2b(repr(body).encode(), digest_size=16).digest()
