"""ReportOutcomes and ListOfferResults: what became of decisions."""

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from server.domain.clock import LATEST_US, microseconds_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.decision import decision_id_of
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import OutcomesReported
from server.domain.outcome import AttributedOutcome, Attribution, Outcome
from server.execution.state import Clock, State
from server.execution.writer import Writer

MAX_OUTCOMES = 1_000
DEFAULT_PAGE = 100
MAX_PAGE = 1_000
MAX_AMOUNT = 1e12
"""Of a budget too: sums of more would lose the small ones, or be infinite."""


class OutcomeAnswer(NamedTuple):
    """What became of one report: an attribution and whose it is, or the error that refused it."""

    attribution: Attribution | None
    decision_id: str = ""
    error: OpportuneError | None = None


class OutcomesRecorded(NamedTuple):
    """An answer for each report, and the profile version that has them."""

    answers: Sequence[OutcomeAnswer]
    profile_version: int


class ReportOutcomes:
    """Takes outcomes. What is answered is durable, and known to the next ranking."""

    def __init__(self, state: State, writer: Writer, clock: Clock) -> None:
        self._state = state
        self._writer = writer
        self._clock = clock

    async def __call__(self, outcomes: Sequence[Outcome | OpportuneError]) -> OutcomesRecorded:
        """Records outcomes; one that could not even be read stands as its error, and is answered by it.

        Raises:
            OpportuneError: INVALID_FIELD for the request itself, JOURNAL_FULL, JOURNAL_FAILED.
        """
        if not 1 <= len(outcomes) <= MAX_OUTCOMES:
            raise invalid_field("outcomes", f"must be 1 to {MAX_OUTCOMES:,}")
        checked = [self._checked(outcome, f"outcomes[{place}]") for place, outcome in enumerate(outcomes)]
        good = [outcome for outcome in checked if isinstance(outcome, Outcome)]
        attributed: Iterator[AttributedOutcome] = iter(())
        if good:
            entry = OutcomesReported(microseconds_of(self._clock()), tuple(good), tuple(map(self._subject, good)))
            written = await asyncio.shield(self._writer.write(entry, weight=len(good)))
            attributed = iter(written.attributed)
        answers = []
        for outcome in checked:
            if isinstance(outcome, OpportuneError):
                answers.append(OutcomeAnswer(None, error=outcome))
                continue
            attribution, ref = next(attributed)
            answers.append(OutcomeAnswer(attribution, "" if ref is None else decision_id_of(ref.number, ref.tag)))
        return OutcomesRecorded(answers, self._state.facts.offset)

    def _checked(self, outcome: Outcome | OpportuneError, field: str) -> Outcome | OpportuneError:
        """The outcome, or the error that refuses it."""
        if isinstance(outcome, OpportuneError):
            return outcome
        try:
            _check(outcome, field)
            if outcome.decision is None:
                self._require_known(outcome)
        except OpportuneError as error:
            return error
        return outcome

    def _require_known(self, outcome: Outcome) -> None:
        """What it is about must be of this catalog or an earlier one: what is recorded of a subject stays for good."""
        # Before the first catalog nobody knows what it is about.
        catalog, contacts = self._state.catalog, self._state.facts.contacts
        offer_id, placement_id, version = outcome.offer_id, outcome.placement_id, str(catalog.version)
        if offer_id not in catalog.offers.index and not contacts.knows(offer_id):
            # Not which: whatever a caller takes for an offer may be somebody's name.
            message = f"catalog version {version} does not have the offer, and nobody was shown it"
            raise OpportuneError(ErrorReason.OFFER_NOT_FOUND, message, {"catalog_version": version})
        if placement_id and placement_id not in catalog.placements and not contacts.knows(offer_id, placement_id):
            message = f"catalog version {version} does not have the placement, and the offer was not shown there"
            raise OpportuneError(ErrorReason.PLACEMENT_NOT_FOUND, message, {"catalog_version": version})

    def _subject(self, outcome: Outcome) -> ContactSubject | None:
        """What an outcome without token is about, as the catalog of now has it."""
        if outcome.decision is not None:
            return None
        offers = self._state.catalog.offers
        place = offers.index.get(outcome.offer_id)
        if place is None:
            return ContactSubject(outcome.offer_id, outcome.placement_id)
        offer = offers.offers[place]
        return ContactSubject(offer.id, outcome.placement_id, "", offer.tactic, offer.exclusion_group)


def _check(outcome: Outcome, field: str) -> None:
    require_identifier(f"{field}.outcome_id", outcome.outcome_id)
    if outcome.kind is ContactKind.DECISION:
        raise invalid_field(f"{field}.kind", "is required")
    if outcome.decision is None:
        require_identifier(f"{field}.customer_id", outcome.customer_id)
        require_identifier(f"{field}.offer_id", outcome.offer_id)
        if outcome.placement_id:
            require_identifier(f"{field}.placement_id", outcome.placement_id)
    if not 0 <= outcome.event_time_us < LATEST_US:
        raise invalid_field(f"{field}.event_time", "is outside the years 1970 to 2200")
    # Written so that NaN is refused too.
    if not 0 <= outcome.revenue <= MAX_AMOUNT:
        raise invalid_field(f"{field}.revenue", "must be from 0 to 1e12")
    if not -MAX_AMOUNT <= outcome.profit <= MAX_AMOUNT:
        raise invalid_field(f"{field}.profit", "must be from -1e12 to 1e12")


class OfferResult(NamedTuple):
    """What one offer has brought, whatever placement and channel showed it."""

    offer_id: str
    contacts: dict[ContactKind, int]
    revenue: float
    profit: float


class ListOfferResults:
    """Pages through what offers have brought, ordered by their ids."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __call__(self, page_size: int, page_token: str) -> tuple[list[OfferResult], str]:
        """One page of results, and the token of the next one (empty: none).

        Raises:
            OpportuneError: INVALID_FIELD for page size or token.
        """
        if page_size < 0:
            raise invalid_field("page_size", "must not be negative")
        size, after = min(page_size or DEFAULT_PAGE, MAX_PAGE), _after(page_token)
        results = self._results()
        offer_ids = sorted(offer_id for offer_id in results if offer_id > after)
        page = [results[offer_id] for offer_id in offer_ids[:size]]
        token = base64.urlsafe_b64encode(page[-1].offer_id.encode()).decode() if len(offer_ids) > size else ""
        return page, token

    def _results(self) -> dict[str, OfferResult]:
        """The results of all offers that any outcome was reported of."""
        contacts = self._state.facts.contacts
        results: dict[str, OfferResult] = {}
        for code, subject in enumerate(contacts.subjects):
            total = contacts.totals.of(code)
            if not any(total.contacts.values()) and not total.revenue and not total.profit:
                continue
            known = results.get(subject.offer_id)
            if known is not None:
                counts = {kind: known.contacts[kind] + count for kind, count in total.contacts.items()}
                total = total._replace(
                    contacts=counts, revenue=known.revenue + total.revenue, profit=known.profit + total.profit
                )
            results[subject.offer_id] = OfferResult(subject.offer_id, *total)
        return results


def _after(token: str) -> str:
    """The offer id that a page ended with."""
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid_field("page_token", "is not a token that ListOfferResults gave") from None
