"""RankOffers: checks a query, decides, explains if asked, and has the decision taken note of."""

import random
from collections.abc import Callable, Sequence, Set
from time import perf_counter_ns

from server.domain.clock import microseconds_of
from server.domain.decision import Decision, RankQuery
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.execution.answered import AnsweredRequests
from server.execution.decide import STAGE_NAMES, decide
from server.execution.evaluation import Evaluation, Moment
from server.execution.explain import explain
from server.execution.noting import NoteDecision
from server.execution.pressure import Pressure
from server.execution.state import Clock, State
from server.intelligence.conditions.lexer import MAX_BYTES

MAX_CANDIDATES = 1_000
MAX_CONTEXT_ATTRIBUTES = 64
MAX_LOCALE_BYTES = 35
MAX_PLACEMENTS = 16
PROFILE_RETRY_MS = 50

_MODEL = STAGE_NAMES.index("model")

Bits = Callable[[int], int]
"""Makes so many random bits."""

Watch = Callable[[Decision, Sequence[Evaluation]], None]
"""Is shown every decision that was made, before its answer leaves."""


def system_bits() -> Bits:
    """Random bits, seeded by the system once, as asking it for every decision costs a system call."""
    return random.Random(random.SystemRandom().getrandbits(256)).getrandbits


class RankOffers:
    """Ranks the catalog's offers for one customer in one context."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        note: NoteDecision,
        bits: Bits | None = None,
        *,
        watch: Watch = lambda decision, evaluations: None,
        pressure: Pressure | None = None,
    ) -> None:
        """Ranks from the state of now.

        Args:
            watch: Sees each decision as it was made.
            pressure: Is told what rankings take, and says how long they may.
        """
        self._state = state
        self._clock = clock
        self._note = note
        self._bits = bits or system_bits()
        self._watch = watch
        self._pressure = pressure or Pressure()
        self._answered: AnsweredRequests[Decision] = AnsweredRequests()

    def __call__(self, query: RankQuery, time_left_s: float | None = None) -> Decision:
        """The decision for a query.

        Args:
            time_left_s: Until the caller's deadline; None: the caller has none.

        Raises:
            OpportuneError: INVALID_FIELD, PLACEMENT_NOT_FOUND, NO_CATALOG, PROFILE_BEHIND or REQUEST_ID_REUSED.
        """
        began_ns = perf_counter_ns()
        _check(query)
        # What is only tried out is nobody's retry.
        body = _body(query) if query.request_id and not query.validate_only else None
        known = None if body is None else self._answered.find(query.request_id, body)
        if known is not None:
            return known
        snapshot = self._state.snapshot()
        if query.min_profile_version > snapshot.profile_version:
            message = f"profiles are at version {snapshot.profile_version}, not yet at {query.min_profile_version}"
            metadata = {"profile_version": str(snapshot.profile_version)}
            raise OpportuneError(ErrorReason.PROFILE_BEHIND, message, metadata, retry_after_ms=PROFILE_RETRY_MS)
        received = self._clock()
        received_us = microseconds_of(received)
        moment = Moment(
            query.context.time or received,
            # What is only tried out has no number of its own.
            0 if query.validate_only else self._note.next_number(),
            self._bits(64),
            perf_counter_ns,
            self._ends_ns(query, began_ns, time_left_s),
            None,
            self._state.cached_ranking,
            received_us,
        )
        decision, evaluations = decide(snapshot, query, moment)
        self._pressure.ranked(perf_counter_ns() - began_ns, sum(map(_model_ns, evaluations)))
        self._watch(decision, evaluations)
        if query.full_view:
            decision = explain(decision, evaluations)
        if not query.validate_only:
            self._note(decision, evaluations, received_us)
            self._answered.remember(query.request_id, body, decision, query.customer_id)
        return decision

    def forget(self, customer_ids: Set[str]) -> None:
        """Forgets the answers that are kept for retries of these customers, who are being erased."""
        self._answered.forget(customer_ids)

    def _ends_ns(self, query: RankQuery, began_ns: int, time_left_s: float | None) -> int | None:
        """When the answer must be there: by the caller's deadline, those of the placements, and sooner in a crowd."""
        placements = self._state.catalog.placements
        limits_ms = [
            placement.placement.deadline_ms
            for placement_id in (query.placement_id, *query.further_placement_ids)
            if (placement := placements.get(placement_id)) is not None and placement.placement.deadline_ms is not None
        ]
        if time_left_s is not None:
            limits_ms.append(time_left_s * 1_000)
        told_ns = self._pressure.told_ns(began_ns)
        if told_ns is not None:
            limits_ms.append(told_ns / 1_000_000)
        return began_ns + int(min(limits_ms) * 1_000_000) if limits_ms else None


def _model_ns(evaluation: Evaluation) -> int:
    """What the model stage took; a placement that is switched off has none."""
    marks = evaluation.marks
    return marks[_MODEL + 1] - marks[_MODEL] if len(marks) > _MODEL + 1 else 0


def _body(query: RankQuery) -> object:
    """What two requests with one id must have in common: everything, but the order of the context's attributes."""
    attributes = dict(sorted(query.context.attributes.items()))
    return query._replace(context=query.context._replace(attributes=attributes))


def _check(query: RankQuery) -> None:
    require_identifier("customer_id", query.customer_id)
    require_identifier("placement_id", query.placement_id)
    if query.max_offers < 0:
        raise invalid_field("max_offers", "must not be negative")
    if query.min_profile_version < 0:
        raise invalid_field("min_profile_version", "must not be negative")
    if query.request_id:
        require_identifier("request_id", query.request_id)
    if query.candidate_offer_ids:
        _check_candidates(query.candidate_offer_ids)
    if query.further_placement_ids:
        _check_placements(query)
    if len(query.context.attributes) > MAX_CONTEXT_ATTRIBUTES:
        raise invalid_field("context.attributes", f"has more than {MAX_CONTEXT_ATTRIBUTES} entries")
    if len(query.context.locale.encode()) > MAX_LOCALE_BYTES:
        raise invalid_field("context.locale", f"is longer than {MAX_LOCALE_BYTES} bytes")
    if len(query.filter) > MAX_BYTES:
        raise invalid_field("filter", f"is longer than {MAX_BYTES:,} bytes")


def _check_candidates(offer_ids: Sequence[str]) -> None:
    if len(offer_ids) > MAX_CANDIDATES:
        raise invalid_field("candidate_offer_ids", f"has more than {MAX_CANDIDATES:,} ids")
    for place, offer_id in enumerate(offer_ids):
        require_identifier(f"candidate_offer_ids[{place}]", offer_id)


def _check_placements(query: RankQuery) -> None:
    placement_ids = (query.placement_id, *query.further_placement_ids)
    if len(placement_ids) > MAX_PLACEMENTS:
        raise invalid_field("further_placement_ids", f"has more than {MAX_PLACEMENTS - 1} ids")
    for place, placement_id in enumerate(query.further_placement_ids):
        require_identifier(f"further_placement_ids[{place}]", placement_id)
        if placement_id in placement_ids[: place + 1]:
            raise invalid_field(f"further_placement_ids[{place}]", "is named twice")
