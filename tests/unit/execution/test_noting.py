import asyncio
from collections.abc import Callable, Sequence
from random import Random

import pytest

from server.domain.decision import RankQuery
from server.domain.errors import OpportuneError
from server.domain.journal import DecisionsMade, Entry, journal_failed, journal_full
from server.domain.vault import SealedText
from server.execution import noting
from server.execution.catalog import publish
from server.execution.noting import FLUSH_S, RETRY_S, NoteDecision
from server.execution.rank import RankOffers
from server.execution.state import State
from server.execution.writer import Writer, Written
from server.storage.memory_decision_log import MemoryDecisionLog
from server.storage.memory_journal import MemoryJournal
from tests.support.catalogs import catalog_document, compiled_catalog, offer_entry
from tests.support.clock import NOON, NOON_US, ManualClock
from tests.support.direct_writer import DirectWriter, at_once
from tests.support.folds import linked

CATALOG = compiled_catalog(catalog_document([offer_entry("a"), offer_entry("b")]))


class HeldWriter(Writer):
    """Takes entries and lets the test say what becomes of them."""

    def __init__(self, state: State) -> None:
        super().__init__(MemoryJournal(), state, None)
        self.taken: list[tuple[Entry, asyncio.Future[Written]]] = []

    def write(
        self, entry: Entry, compiled: object = None, sealed: Sequence[SealedText] = (), weight: int = 1
    ) -> "asyncio.Future[Written]":
        self.ahead()
        future: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self.taken.append((entry, future))
        return future

    def refuse(self, place: int, error: OpportuneError) -> None:
        """Refuses what was taken, without a turn of the loop."""
        self.taken[place][1].set_exception(error)

    def entries(self, first: int = 0) -> list[DecisionsMade]:
        """The entries of decisions among those that were taken from one on."""
        return [entry for entry, _ in self.taken[first:] if isinstance(entry, DecisionsMade)]

    def numbers(self, first: int = 0) -> list[int]:
        """The decisions of the entries that were taken from one on."""
        return [made.number for entry in self.entries(first) for made in entry.decisions]


class Noting:
    """A ranker whose journal the test holds."""

    def __init__(self) -> None:
        self.state = State({})
        at_once(publish(self.state, DirectWriter(self.state), CATALOG, NOON))
        self.writer = HeldWriter(self.state)
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.note = NoteDecision(self.state, self.writer, MemoryDecisionLog(), lambda: NOON_US, self._later)
        self.ranker = RankOffers(self.state, ManualClock(), self.note, Random(7).getrandbits)

    def rank(self, times: int = 1, validate_only: bool = False) -> None:
        """Decides."""
        for _ in range(times):
            self.ranker(RankQuery("c:1", "home", validate_only=validate_only))

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.timers.append((seconds, call))
        return asyncio.get_running_loop().call_later(3_600, lambda: None)


def _about(entry: DecisionsMade) -> list[list[str]]:
    """What each decision of an entry has shown."""
    return [[entry.subjects[place].offer_id for place in made.shown] for made in entry.decisions]


async def turn() -> None:
    """Lets callbacks run."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_decision_is_in_force_at_once_and_written_a_little_later() -> None:
    noting_ = Noting()

    noting_.rank(3)

    assert noting_.state.facts.contacts.decided == 3
    assert noting_.writer.taken == []
    assert [seconds for seconds, _ in noting_.timers] == [FLUSH_S]
    noting_.timers[0][1]()
    assert noting_.writer.numbers() == [1, 2, 3]
    entry = noting_.writer.taken[0][0]
    assert isinstance(entry, DecisionsMade)
    assert [subject.offer_id for subject in entry.subjects] in (["a", "b"], ["b", "a"])
    assert {made.shown for made in entry.decisions} <= {(0, 1), (1, 0)}


async def test_decisions_come_before_any_entry_behind_them() -> None:
    noting_ = Noting()
    noting_.rank(2)

    noting_.writer.write(linked("c:1", "c:2"))

    assert [type(entry) for entry, _ in noting_.writer.taken] == [DecisionsMade, type(linked("c:1", "c:2"))]


async def test_what_is_only_tried_out_leaves_no_trace() -> None:
    noting_ = Noting()

    noting_.rank(2, validate_only=True)

    noting_.note.flush()
    assert not noting_.writer.taken
    assert not noting_.timers
    assert noting_.state.facts.contacts.decided == 0
    assert noting_.note.next_number() == 1


async def test_refused_decisions_are_written_again_before_those_made_since() -> None:
    noting_ = Noting()
    noting_.rank(2)
    noting_.note.flush()
    noting_.rank(2)
    noting_.note.flush()
    noting_.rank()

    noting_.writer.refuse(0, journal_full())
    noting_.writer.refuse(1, journal_full())
    await turn()

    assert noting_.timers[-1][0] == RETRY_S
    noting_.timers[-1][1]()
    assert noting_.writer.numbers(2) == [1, 2, 3, 4, 5]
    assert noting_.note.unwritten == 0


async def test_refused_decisions_are_before_others_even_before_anybody_was_told() -> None:
    noting_ = Noting()
    noting_.rank()
    noting_.note.flush()
    noting_.rank()

    noting_.writer.refuse(0, journal_full())
    noting_.note.flush()
    await turn()

    assert noting_.writer.numbers(1) == [1, 2]
    assert len(noting_.writer.taken) == 3


async def test_failed_journal_gets_nothing_again() -> None:
    noting_ = Noting()
    noting_.rank(2)
    noting_.note.flush()

    noting_.writer.refuse(0, journal_failed())
    await turn()
    noting_.note.flush()

    assert len(noting_.writer.taken) == 1
    assert noting_.note.unwritten == 2


async def test_only_so_many_wait_for_a_full_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "MOST_WAITING", 3)
    noting_ = Noting()
    for _ in range(4):
        noting_.rank()
        noting_.note.flush()
    noting_.rank()

    for place in range(4):
        noting_.writer.refuse(place, journal_full())
    await turn()
    noting_.note.flush()

    assert noting_.writer.numbers(4) == [2, 3, 4, 5]
    assert noting_.note.unwritten == 1


async def test_refused_decisions_are_put_together_with_what_they_were_about() -> None:
    noting_ = Noting()
    for offers in (("a",), ("b",), (), ("b",)):
        noting_.ranker(RankQuery("c:1", "home", candidate_offer_ids=offers))
        noting_.note.flush()
    before = [about for entry in noting_.writer.entries() for about in _about(entry)]

    for place in range(4):
        noting_.writer.refuse(place, journal_full())
    await turn()
    noting_.note.flush()

    (entry,) = noting_.writer.entries(4)
    assert noting_.writer.numbers(4) == [1, 2, 3, 4]
    assert _about(entry) == before
    assert sorted(subject.offer_id for subject in entry.subjects) == ["a", "b"]


async def test_refused_decisions_make_entries_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "MOST_TOGETHER", 2)
    noting_ = Noting()
    for _ in range(5):
        noting_.rank()
        noting_.note.flush()

    for attempt in range(3):
        first = len(noting_.writer.taken)
        for place in range(first):
            if not noting_.writer.taken[place][1].done():
                noting_.writer.refuse(place, journal_full())
        await turn()
        noting_.note.flush()

        assert [len(entry.decisions) for entry in noting_.writer.entries(first)] == [2, 2, 1], attempt
        assert noting_.writer.numbers(first) == [1, 2, 3, 4, 5]


async def test_full_journal_is_tried_again_once_however_much_it_has_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "MOST_TOGETHER", 1)
    noting_ = Noting()
    for _ in range(9):
        noting_.rank()
        noting_.note.flush()
    for place in range(9):
        noting_.writer.refuse(place, journal_full())
    await turn()
    noting_.note.flush()
    timers = len(noting_.timers)

    for place in range(9, 17):
        noting_.writer.refuse(place, journal_full())
        await turn()
    assert len(noting_.timers) == timers
    noting_.writer.refuse(17, journal_full())
    await turn()

    assert [seconds for seconds, _ in noting_.timers[timers:]] == [RETRY_S]


async def test_writing_that_was_called_off_is_not_tried_again() -> None:
    noting_ = Noting()
    noting_.rank()
    noting_.note.flush()

    noting_.writer.taken[0][1].cancel()
    await turn()
    noting_.note.flush()

    assert len(noting_.writer.taken) == 1
    assert noting_.note.unwritten == 1


async def test_numbers_go_on_behind_those_that_were_used() -> None:
    noting_ = Noting()

    noting_.note.start_behind(41)
    noting_.note.start_behind(7)
    noting_.rank()

    assert noting_.state.facts.contacts.decided == 42
