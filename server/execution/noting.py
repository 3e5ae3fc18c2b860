"""Takes note of decisions: in force at once, in the journal soon, in the decision log if there is room.

The next decision must see what this one holds, so it is entered in the contact book before the answer leaves. The
journal gets decisions a few milliseconds later, many at a time and before any entry that comes after them. A process
that is killed in between loses what these decisions held, and answers that have left cannot be called back: what is
lost is the promise of the last milliseconds, never an outcome.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from server.domain.decision import Decision, Rung
from server.domain.decision_log import DecisionLog
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DecisionMade, DecisionsMade
from server.execution.cached import CachedRanking
from server.execution.candidates import household_of
from server.execution.evaluation import Evaluation, that_ran
from server.execution.record import record_of
from server.execution.state import State
from server.execution.writer import Writer, Written

FLUSH_S = 0.005
RETRY_S = 1.0
MOST_WAITING = 100_000
"""Decisions that wait for a journal that is full; more are not written, and a restart forgets what they held."""

MOST_TOGETHER = 1_024
"""Refused decisions that are put together into one entry: as a few large ones, any number of them is tried quickly."""

Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle | None]


def call_later(seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    """Calls back on the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class NoteDecision:
    """Takes note of decisions, in the order of their numbers."""

    def __init__(
        self,
        state: State,
        writer: Writer,
        log: DecisionLog,
        now_us: Callable[[], int],
        later: Later = call_later,
    ) -> None:
        """`now_us` tells the time, for the entries; `later` calls back after so many seconds."""
        self._state = state
        self._writer = writer
        self._log = log
        self._now_us = now_us
        self._last = state.facts.contacts.decided
        self._waiting: list[DecisionMade] = []
        self._on_their_way: deque[tuple[asyncio.Future[Written], DecisionsMade]] = deque()
        self._refused: deque[DecisionsMade] = deque()
        self._refused_decisions = 0
        self._later = later
        self._timer: asyncio.TimerHandle | None = None
        self.unwritten = 0
        """How many decisions the journal never got, as it was full or had failed."""
        writer.ahead = self.flush

    def start_behind(self, number: int) -> None:
        """Numbers what comes next behind a number that has been used."""
        self._last = max(self._last, number)

    def next_number(self) -> int:
        """The number of the next decision."""
        return self._last + 1

    def __call__(self, decision: Decision, evaluations: Sequence[Evaluation], received_us: int) -> None:
        """Takes note of the decision whose number is the next."""
        self._last += 1
        ran = that_ran(evaluations)
        if decision.ranking.shown:
            self._enter(decision, ran, received_us)
        for evaluation in ran:
            self._observe(evaluation, received_us)
        self._log.put(record_of(decision, evaluations))

    def flush(self) -> None:
        """Has what waits written, ahead of everything that comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._take_back()
        # Whatever comes while a disk is full asks for what was refused once more.
        entries = [*self._refused]
        self._refused.clear()
        self._refused_decisions = 0
        if self._waiting:
            entries.append(self._entry(self._waiting))
            self._waiting = []
        for entry in entries:
            written = self._writer.write(entry, weight=len(entry.decisions))
            self._on_their_way.append((written, entry))
        if entries:
            # What was taken first is done first.
            self._on_their_way[-1][0].add_done_callback(lambda _: self._settle())

    def _entry(self, made: Sequence[DecisionMade]) -> DecisionsMade:
        """Decisions as the journal has them, with the subjects that they are about."""
        subjects = self._state.facts.contacts.subjects
        codes = list(dict.fromkeys(code for each in made for code in each.shown))
        place = {code: number for number, code in enumerate(codes)}
        decisions = tuple(each._replace(shown=tuple([place[code] for code in each.shown])) for each in made)
        return DecisionsMade(self._now_us(), tuple(subjects[code] for code in codes), decisions)

    def _settle(self) -> None:
        """Tries what a full journal has refused again, after a while."""
        self._take_back()
        if self._refused and not self._on_their_way:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._later(RETRY_S, self._flush_now)

    def _take_back(self) -> None:
        """Keeps what a full journal has refused for the next time, before what was made since."""
        while self._on_their_way and self._on_their_way[0][0].done():
            done, entry = self._on_their_way.popleft()
            error = asyncio.CancelledError() if done.cancelled() else done.exception()
            if isinstance(error, OpportuneError) and error.reason is ErrorReason.JOURNAL_FULL:
                self._keep(entry)
            elif error is not None:
                self.unwritten += len(entry.decisions)
        while self._refused_decisions > MOST_WAITING:
            oldest = self._refused.popleft()
            gone = min(self._refused_decisions - MOST_WAITING, len(oldest.decisions))
            if gone < len(oldest.decisions):
                self._refused.appendleft(oldest._replace(decisions=oldest.decisions[gone:]))
            self._refused_decisions -= gone
            self.unwritten += gone

    def _keep(self, entry: DecisionsMade) -> None:
        """Keeps an entry that was refused behind those before it, in one with the last if that is not too large."""
        self._refused_decisions += len(entry.decisions)
        if self._refused and len(self._refused[-1].decisions) + len(entry.decisions) <= MOST_TOGETHER:
            entry = _together(self._refused.pop(), entry)
        self._refused.append(entry)

    def _flush_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._later(seconds, self._flush_now)

    def _flush_now(self) -> None:
        self._timer = None
        self.flush()

    def _enter(self, decision: Decision, ran: Sequence[Evaluation], received_us: int) -> None:
        """Enters a decision in the contact book, and has it written."""
        first = ran[0]
        moment, facts = first.moment, self._state.facts
        shown: list[int] = []
        for evaluation in ran:
            placement_id = evaluation.placement.placement.id
            shown += evaluation.snapshot.rules.subjects(placement_id, evaluation.channel, evaluation.slate.offers)
        made = DecisionMade(
            moment.number,
            moment.tag,
            first.now_us,
            decision.profile_version,
            decision.customer_id,
            household_of(first),
            first.now_us + first.catalog.contacts.hold_us,
            tuple(shown),
        )
        facts.contacts.decide(made, shown, received_us, first.own_row)
        self._waiting.append(made)
        if self._timer is None and len(self._waiting) == 1:
            self._flush_in(FLUSH_S)

    def _observe(self, evaluation: Evaluation, received_us: int) -> None:
        """Learns what a decision costs behind its scores, and remembers its ranking for those in a hurry."""
        state, marks = self._state, evaluation.marks
        if evaluation.placement.model is None or evaluation.rung > Rung.REDUCED or not len(evaluation.eligible):
            return
        now_ns = evaluation.moment.clock_ns()
        state.rest.observe(len(evaluation.eligible), now_ns - marks[-2], now_ns)
        if evaluation.moment.ends_ns is None:
            return
        scored = evaluation.eligible, evaluation.propensity, evaluation.expected_value
        ranking = CachedRanking.of(
            scored, catalog_version=evaluation.catalog.version, model_id=evaluation.model_id, time_us=received_us
        )
        state.cached.remember(evaluation.query.customer_id, evaluation.where, ranking)


def _together(earlier: DecisionsMade, later: DecisionsMade) -> DecisionsMade:
    """Two entries as one: the subjects of the earlier one stay where they are."""
    subjects = tuple(dict.fromkeys(earlier.subjects + later.subjects))
    place = {subject: number for number, subject in enumerate(subjects)}
    moved = [place[subject] for subject in later.subjects]
    decisions = [each._replace(shown=tuple([moved[code] for code in each.shown])) for each in later.decisions]
    return DecisionsMade(later.time_us, subjects, (*earlier.decisions, *decisions))
