"""Remembers the answers to request ids, so that a retry gets the first answer and not a second effect."""

import pickle
from collections.abc import Callable, Set
from hashlib import blake2b
from time import monotonic
from typing import Generic, TypeVar, cast

from cachetools import TTLCache

from server.domain.errors import ErrorReason, OpportuneError

MAX_BYTES = 128 * 2**20
"""What is remembered at most: some 100,000 answers that were not explained."""

REMEMBERED_S = 24 * 3600

_AROUND_BYTES = 600
"""What the objects around an answer take."""

Answer = TypeVar("Answer")


_Kept = tuple[bytes, str, bytes]
"""What the request was, whom it was about, and the answer. A bare tuple of such things the collector lets go of."""


class AnsweredRequests(Generic[Answer]):
    """The last answers, for 24 hours and up to 128 MiB, by request id. When there are more, the oldest are forgotten.

    They are kept pickled, as nothing but this process reads them: a hundred thousand answers would be millions of
    objects, which the garbage collector would walk again and again, for a second each time.
    """

    def __init__(self, timer: Callable[[], float] = monotonic, max_bytes: int = MAX_BYTES) -> None:
        """Starts with none; `timer` counts seconds."""
        self._max_bytes = max_bytes
        self._answers: TTLCache[str, _Kept] = TTLCache(max_bytes, REMEMBERED_S, timer, _bytes)

    def find(self, request_id: str, body: object) -> Answer | None:
        """The first answer to a request id, None if there is none. Bodies are told apart by their `repr`.

        Raises:
            OpportuneError: REQUEST_ID_REUSED if the first request had another body.
        """
        kept = self._answers.get(request_id) if request_id else None
        if kept is None:
            return None
        known, _, answer = kept
        if known != _fingerprint(body):
            message = f"request_id {request_id} was used with another request within 24 hours"
            raise OpportuneError(ErrorReason.REQUEST_ID_REUSED, message, {"request_id": request_id})
        return cast(Answer, pickle.loads(answer))

    def remember(self, request_id: str, body: object, answer: Answer, whose: str = "") -> None:
        """Keeps an answer for retries; without a request id there is nothing to keep.

        An answer that is larger than everything together may be is not kept.

        Args:
            whose: The customer whom it is about, if it is about one.
        """
        if not request_id:
            return
        kept = (_fingerprint(body), whose, pickle.dumps(answer, pickle.HIGHEST_PROTOCOL))
        if _bytes(kept) <= self._max_bytes:
            self._answers[request_id] = kept

    def forget(self, customer_ids: Set[str]) -> None:
        """Forgets the answers about these customers. Looks at all of them, a few milliseconds at most."""
        for request_id in [name for name, (_, whose, _) in list(self._answers.items()) if whose in customer_ids]:
            self._answers.pop(request_id, None)


def _bytes(kept: _Kept) -> int:
    return _AROUND_BYTES + len(kept[2])


def _fingerprint(body: object) -> bytes:
    return blake2b(repr(body).encode(), digest_size=16).digest()
