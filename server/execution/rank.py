"""RankOffers: checks a query, decides, and explains if asked."""

from collections.abc import Callable
from time import perf_counter_ns

from server.domain.decision import Decision, RankQuery
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.execution.answered import AnsweredRequests
from server.execution.decide import decide
from server.execution.explain import explain
from server.execution.state import Clock, State
from server.intelligence.conditions.lexer import MAX_BYTES

MAX_CANDIDATES = 1_000
MAX_CONTEXT_ATTRIBUTES = 64
MAX_LOCALE_BYTES = 35
PROFILE_RETRY_MS = 50


class RankOffers:
    """Ranks the catalog's offers for one customer in one context."""

    def __init__(self, state: State, clock: Clock, new_decision_id: Callable[[], str]) -> None:
        self._state = state
        self._clock = clock
        self._new_decision_id = new_decision_id
        self._answered: AnsweredRequests[Decision] = AnsweredRequests()

    def __call__(self, query: RankQuery) -> Decision:
        """The decision for a query.

        Raises:
            OpportuneError: INVALID_FIELD, PLACEMENT_NOT_FOUND, NO_CATALOG, PROFILE_BEHIND or REQUEST_ID_REUSED.
        """
        _check(query)
        body = _body(query) if query.request_id else None
        known = self._answered.find(query.request_id, body)
        if known is not None:
            return known
        snapshot = self._state.snapshot()
        if query.min_profile_version > snapshot.profile_version:
            message = f"profiles are at version {snapshot.profile_version}, not yet at {query.min_profile_version}"
            metadata = {"profile_version": str(snapshot.profile_version)}
            raise OpportuneError(ErrorReason.PROFILE_BEHIND, message, metadata, retry_after_ms=PROFILE_RETRY_MS)
        time = query.context.time or self._clock()
        decision, evaluation = decide(snapshot, query, time, self._new_decision_id(), perf_counter_ns)
        if query.full_view:
            decision = explain(decision, evaluation)
        if not query.validate_only:
            self._answered.remember(query.request_id, body, decision)
        return decision


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
    if len(query.candidate_offer_ids) > MAX_CANDIDATES:
        raise invalid_field("candidate_offer_ids", f"has more than {MAX_CANDIDATES:,} ids")
    for place, offer_id in enumerate(query.candidate_offer_ids):
        require_identifier(f"candidate_offer_ids[{place}]", offer_id)
    if len(query.context.attributes) > MAX_CONTEXT_ATTRIBUTES:
        raise invalid_field("context.attributes", f"has more than {MAX_CONTEXT_ATTRIBUTES} entries")
    if len(query.context.locale.encode()) > MAX_LOCALE_BYTES:
        raise invalid_field("context.locale", f"is longer than {MAX_LOCALE_BYTES} bytes")
    if len(query.filter) > MAX_BYTES:
        raise invalid_field("filter", f"is longer than {MAX_BYTES:,} bytes")
