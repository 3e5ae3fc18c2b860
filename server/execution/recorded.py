"""GetDecision expands the record of a decision to words, with what each loser lacked; ReplayDecision makes it again."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from server.domain.decision import Decision, Explanation, OfferExplanation, Result, parse_decision_id
from server.domain.decision_log import DecisionLog
from server.domain.decision_record import DecisionRecord
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.execution.alternatives import Alternatives
from server.execution.explain import explain
from server.execution.past_catalogs import PastCatalogs
from server.execution.rebuilding import Rebuilt, rebuild
from server.execution.replay import Replayed

TURN_S = 0.001
"""How long changes are tried before rankings have their turn."""


class GetDecision:
    """Tells what was decided, of what, and why."""

    def __init__(self, log: DecisionLog, catalogs: PastCatalogs) -> None:
        self._log = log
        self._catalogs = catalogs

    async def __call__(self, decision_id: str) -> Decision:
        """A recorded decision with its explanation.

        Raises:
            OpportuneError: INVALID_FIELD, DECISION_NOT_FOUND, or VERSION_GONE for its catalog.
            JournalDamagedError, NewerEntryError, OSError: log or journal cannot be read.
        """
        record = await find_record(self._log, decision_id)
        rebuilt = rebuild(record, await self._catalogs.at(record.catalog_version))
        if not rebuilt.is_faithful:
            return _unexplained(rebuilt)
        explained = explain(rebuilt.decision, rebuilt.evaluations)
        if explained.result is Result.PLACEMENT_DISABLED:
            return explained
        return _with_changes(explained, await _changes(rebuilt))


class ReplayDecision:
    """Makes a recorded decision again, somewhere else, and compares."""

    def __init__(
        self,
        log: DecisionLog,
        settle: Callable[[], Awaitable[None]],
        replay: Callable[[DecisionRecord], Awaitable[Replayed]],
    ) -> None:
        """`settle` returns when the journal has the decisions that it does not have yet."""
        self._log = log
        self._settle = settle
        self._replay = replay

    async def __call__(self, decision_id: str) -> Replayed:
        """The decision made again, and how it differs from what was recorded.

        Raises:
            OpportuneError: INVALID_FIELD, DECISION_NOT_FOUND, VERSION_GONE, or DEADLINE_PASSED.
            JournalDamagedError, NewerEntryError, OSError: the log cannot be read.
        """
        record = await find_record(self._log, decision_id)
        await self._settle()
        return await self._replay(record)


async def find_record(log: DecisionLog, decision_id: str) -> DecisionRecord:
    """The record of a decision.

    Raises:
        OpportuneError: INVALID_FIELD, DECISION_NOT_FOUND.
        JournalDamagedError, NewerEntryError, OSError: the log cannot be read.
    """
    number, tag = numbers_of(decision_id)
    record = await log.find(number, tag) if 0 < number < 1 << 63 else None
    if record is None:
        raise not_recorded()
    return record


def numbers_of(decision_id: str) -> tuple[int, int]:
    """Number and tag of a decision.

    Raises:
        OpportuneError: INVALID_FIELD.
    """
    numbers = parse_decision_id(decision_id)
    if numbers is None:
        raise invalid_field("decision_id", "takes 32 hexadecimal digits, as `decision_id` of a decision has them")
    return numbers


def not_recorded() -> OpportuneError:
    """There is no record of a decision."""
    message = "there is no record of the decision: it was only tried out, dropped under load, erased, or is too old"
    return OpportuneError(ErrorReason.DECISION_NOT_FOUND, message)


async def _changes(rebuilt: Rebuilt) -> dict[str, str]:
    """The change that each loser lacked, by offer id, found between rankings."""
    alternatives = Alternatives([evaluation for evaluation in rebuilt.evaluations if evaluation.marks])
    turn_ends = perf_counter() + TURN_S
    for _ in alternatives.find():
        if perf_counter() > turn_ends:
            await asyncio.sleep(0)
            turn_ends = perf_counter() + TURN_S
    return alternatives.words


def _with_changes(decision: Decision, changes: dict[str, str]) -> Decision:
    assert decision.explanation is not None
    exclusions = tuple(
        exclusion._replace(would_have_won_if=changes.get(exclusion.offer_id, ""))
        for exclusion in decision.explanation.exclusions
    )
    return decision._replace(explanation=decision.explanation._replace(exclusions=exclusions))


def _unexplained(rebuilt: Rebuilt) -> Decision:
    """The answer alone: with models or programs as they are now it would be another, so nothing explains this one."""
    decision = rebuilt.decision
    offers = tuple(OfferExplanation((), {}) for _ in decision.ranking.shown)
    return decision._replace(explanation=Explanation(offers, (), ()))
