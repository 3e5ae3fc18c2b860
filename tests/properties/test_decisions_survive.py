"""Decisions are in force before they are written: the journal, read again from wherever, comes to the same facts."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from random import Random
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.decision import Context, RankQuery
from server.domain.journal import DeltasReceived, Entry, OutcomesReported, Record
from server.domain.outcome import AttributedOutcome, Attribution, DecisionRef, Outcome
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.execution.catalog import publish
from server.execution.facts import Facts
from server.execution.noting import NoteDecision
from server.execution.rank import RankOffers
from server.execution.snapshot import Capture, capture
from server.execution.state import State
from server.input.contacts import Contacts
from server.input.pages import SavedPage
from server.storage.codec import Encoded, decode, encode
from server.storage.memory_decision_log import MemoryDecisionLog
from tests.support.catalogs import ATTRIBUTES, catalog_document, compiled_catalog, offer_entry, placement_entry
from tests.support.clock import ManualClock
from tests.support.direct_writer import DirectWriter, at_once
from tests.support.folds import linked, restored, unlinked

CUSTOMERS = ("cookie:1", "cookie:2", "card:1")
HOUR_US = 3_600_000_000


def _cap(on: str, of: str = "offer") -> dict[str, Any]:
    return {"count": 50, "window": "1h", "on": on, "of": of, "per": "global"}


CATALOG = compiled_catalog(
    catalog_document(
        [
            offer_entry("a", 3.0, caps=[_cap("impression"), _cap("decision", "all")]),
            offer_entry("b", 2.0, caps=[{"count": 9, "window": "1h", "per": "household"}]),
            offer_entry("c", 1.0, caps=[_cap("accepted", "tactic")]),
        ],
        [placement_entry("home", slots=2), placement_entry("side", slots=3)],
        budgets=[{"id": "ever", "limit": 100.0}, {"id": "hourly", "limit": 100.0, "on": "click", "window": "1h"}],
        attributes=[*ATTRIBUTES, {"id": "family", "type": "key"}],
        contacts={"household": "family", "hold": "10m"},
    )
)
OTHER_CATALOG = compiled_catalog(
    catalog_document(
        [offer_entry("a", 1.0, caps=[_cap("decision")]), offer_entry("b", 2.0)],
        [placement_entry("home", slots=1), placement_entry("side", slots=2)],
        budgets=[{"id": "ever", "limit": 100.0, "window": "1h"}],
        attributes=[*ATTRIBUTES, {"id": "family", "type": "key"}],
        contacts={"household": "family", "hold": "20m"},
    )
)


class QueueingWriter(DirectWriter):
    """Applies entries when it is told to, as a journal that takes its time."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.queue: deque[tuple[Entry, object]] = deque()
        self.journal: list[Encoded] = []

    def write(self, entry: Entry, compiled: object = None, sealed: Any = (), weight: int = 1) -> Any:
        self.ahead()
        self.queue.append((entry, compiled))
        return _Never()

    def apply_next(self) -> None:
        """Has the journal take the oldest entry that waits."""
        entry, compiled = self.queue.popleft()
        self.journal.append(encode(entry))
        self._state.apply(Record(self._state.facts.offset + 1, entry), compiled)

    def apply_all(self) -> None:
        """Has it take all of them."""
        self.ahead()
        while self.queue:
            self.apply_next()


class _Never:
    """A future that nobody ever completes."""

    def add_done_callback(self, callback: object) -> None:
        """Nothing is ever done."""

    def done(self) -> bool:
        """Not now."""
        return False


class Snapshot(NamedTuple):
    """A capture that is being taken, with the pages that were saved so far."""

    capture: Capture
    pages: list[SavedPage]


class Server:
    """Decides, and writes with a journal that lags behind."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = State({})
        self.writer = QueueingWriter(self.state)
        self.note = NoteDecision(self.state, self.writer, MemoryDecisionLog(), self.now_us, lambda seconds, call: None)
        self.rank_offers = RankOffers(self.state, self.clock, self.note, Random(7).getrandbits)
        self.snapshots: list[Snapshot] = []
        self.refs: list[DecisionRef] = []
        self.outcomes: list[Outcome] = []
        direct = DirectWriter(self.state)
        at_once(publish(self.state, direct, CATALOG, self.clock.now))
        self.writer.journal += [encode(entry) for entry in direct.entries]

    def now_us(self) -> int:
        """The clock's time."""
        return microseconds_of(self.clock.now)

    def rank(self, customer_id: str, further: bool) -> None:
        """Decides."""
        more = ("side",) if further else ()
        decision = self.rank_offers(RankQuery(customer_id, "home", Context(), further_placement_ids=more))
        number, tag = int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16)
        self.refs += [DecisionRef(number, tag, slot) for slot in range(len(decision.offers))]

    def report(self, place: int, kind: ContactKind, minutes: int) -> None:
        """Reports an outcome of a decision."""
        if self.refs:
            self._report(self.refs[-1 - place % len(self.refs)], kind, minutes)

    def report_without_token(self, customer_id: str, offer_id: str, kind: ContactKind) -> None:
        """Reports an outcome of whatever decision it was."""
        self._report(None, kind, 0, customer_id, offer_id)

    def publish(self, other: bool) -> None:
        """Serves the other catalog; the queue is empty while it changes, so that the fold and the rules go together."""
        self.writer.apply_all()
        direct = DirectWriter(self.state)
        at_once(publish(self.state, direct, OTHER_CATALOG if other else CATALOG, self.clock.now))
        self.writer.journal += [encode(entry) for entry in direct.entries]

    def move(self, customer_id: str, family: str) -> None:
        """Sets the household."""
        delta = ProfileDelta(customer_id, self.now_us(), AttributeUpdates({"family": family}))
        self.writer.write(DeltasReceived(self.now_us(), "", 0, (delta,)))

    def begin_snapshot(self) -> None:
        """Begins a snapshot instead of the one before, which is finished."""
        self.finish_snapshot()
        self.snapshots.append(Snapshot(capture(self.state.facts, self.now_us()), []))

    def save_some(self) -> None:
        """Saves some pages of the snapshot."""
        if self.snapshots:
            self.snapshots[-1].pages.extend(islice(self.snapshots[-1].capture.pages, 3))

    def finish_snapshot(self) -> None:
        """Saves the others."""
        if self.snapshots:
            self.snapshots[-1].pages.extend(self.snapshots[-1].capture.pages)

    def _report(
        self, ref: DecisionRef | None, kind: ContactKind, minutes: int, customer_id: str = "", offer_id: str = ""
    ) -> None:
        event_us = self.now_us() + minutes * 60_000_000
        outcome = Outcome(
            f"outcome-{len(self.outcomes)}", kind, event_us, ref, customer_id, offer_id, revenue=2.5, profit=0.5
        )
        self.outcomes.append(outcome)
        subject = None if ref else ContactSubject(offer_id, "home", "web", "discount")
        self.writer.write(OutcomesReported(self.now_us(), (outcome,), (subject,)))


def everything(facts: Facts, times_us: Sequence[int]) -> dict[str, object]:
    """All that anybody could ask of what was shown, without codes and rows, which depend on what came first."""
    book, profiles = facts.contacts, facts.profiles
    names = [book._household_names.name(row) for row in book._household_names.named()]
    return {
        "offset": facts.offset,
        "decided": book.decided,
        "written": book.written,
        "contacts": {
            profiles.name(row): events_of(facts, profiles.contacts, row) for row in profiles.identifiers.named()
        },
        "customers": {
            profiles.name(row): sorted(map(profiles.name, profiles.members(row)))
            for row in profiles.identifiers.named()
        },
        "households": {name: events_of(facts, book.households, book._household_names.find(name)) for name in names},
        "meters": {
            name: [meter.used(time_us, window_us) for time_us in times_us for window_us in (0, HOUR_US)]
            for name, meter in book.meters.by_id.items()
        },
        "totals": {
            subject: total
            for code, subject in enumerate(book.subjects)
            if any((total := book.totals.of(code)).contacts.values())
        },
    }


def events_of(facts: Facts, contacts: Contacts, row: int) -> list[tuple[Any, ...]]:
    """The events of a row, with what they were about instead of its code."""
    events = contacts.read(row)
    if events is None:
        return []
    subjects = [facts.contacts.subjects[code] for code in events.subjects.tolist()]
    columns = (events.times_us, events.numbers, events.kinds, events.slots, events.reached)
    return sorted(zip(*(column.tolist() for column in columns), subjects, strict=True), key=repr)


customers = st.sampled_from(CUSTOMERS)
kinds = st.sampled_from(list(ContactKind)[1:])
actions = st.one_of(
    st.tuples(st.just("rank"), customers, st.booleans()),
    st.tuples(st.just("rank"), customers, st.booleans()),
    st.tuples(st.just("report"), st.integers(0, 6), kinds, st.integers(-10, 2)),
    st.tuples(st.just("report_without_token"), customers, st.sampled_from("ab"), kinds),
    st.tuples(st.just("move"), customers, st.sampled_from(["smith", "jones"])),
    st.tuples(st.just("publish"), st.booleans()),
    st.tuples(st.just("begin_snapshot")),
    st.tuples(st.just("save_some")),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 5, 10, 15, 61])),
    st.tuples(st.just("apply"), st.integers(1, 3)),
    st.tuples(st.just("link"), customers, customers),
    st.tuples(st.just("unlink"), customers),
)


def lived(done: Sequence[tuple[Any, ...]]) -> Server:
    """A server after these actions, whose journal has caught up."""
    server = Server()
    for name, *arguments in done:
        match name:
            case "wait":
                server.clock.advance(minutes=arguments[0])
            case "apply":
                for _ in range(min(arguments[0], len(server.writer.queue))):
                    server.writer.apply_next()
            case "link":
                if arguments[0] != arguments[1]:
                    server.writer.write(linked(*arguments))
            case "unlink":
                server.writer.write(unlinked(*arguments))
            case _:
                getattr(server, name)(*arguments)
    server.writer.apply_all()
    server.finish_snapshot()
    return server


def again(server: Server, facts: Facts) -> Facts:
    """Facts with the entries of the journal that come behind them."""
    for offset, payload in enumerate(server.writer.journal[facts.offset :], facts.offset + 1):
        facts.apply(Record(offset, decode(payload)))
    return facts


def reported_again(server: Server, facts: Facts) -> list[AttributedOutcome]:
    """What becomes of all outcomes when they are reported once more."""
    entry = OutcomesReported(server.now_us(), tuple(server.outcomes), (None,) * len(server.outcomes))
    return list(facts.apply(Record(facts.offset + 1, entry)).attributed)


@settings(deadline=None, max_examples=150)
@given(st.lists(actions, max_size=40))
def test_journal_and_snapshots_come_to_what_was_lived(done: list[tuple[Any, ...]]) -> None:
    server = lived(done)
    times_us = [server.now_us() + minutes * 60_000_000 for minutes in (0, 5, 10, 20, 59, 61, 90)]
    expected = everything(server.state.facts, times_us)

    read_again = again(server, Facts())
    from_snapshots = [
        again(server, restored(taken._replace(pages=iter(pages)))) for taken, pages in server.snapshots
    ]  # fmt: skip

    for facts in [read_again, *from_snapshots]:
        assert everything(facts, times_us) == expected
        assert all(each.attribution is Attribution.REPEATED for each in reported_again(server, facts))


@settings(deadline=None, max_examples=100)
@given(st.lists(actions, max_size=40), st.lists(st.tuples(customers, st.booleans()), min_size=1, max_size=5))
def test_server_that_starts_again_goes_on_as_if_it_had_not_stopped(
    done: list[tuple[Any, ...]], asked: list[tuple[str, bool]]
) -> None:
    server = lived(done)
    started = State({})
    started.facts = again(server, Facts())
    started.serve(started.prepare(server.state.catalog))

    for place, (customer_id, further) in enumerate(asked):
        query = RankQuery(customer_id, "home", further_placement_ids=("side",) if further else (), full_view=True)
        answers = []
        for state in (server.state, started):
            note = NoteDecision(state, QueueingWriter(state), MemoryDecisionLog(), server.now_us, lambda s, c: None)
            answers.append(RankOffers(state, server.clock, note, Random(place).getrandbits)(query))
        first, second = answers

        assert [offer.offer_id for offer in first.offers] == [offer.offer_id for offer in second.offers]
        assert first.decision_id == second.decision_id
        assert first.explanation is not None
        assert second.explanation is not None
        assert first.explanation.exclusions == second.explanation.exclusions
