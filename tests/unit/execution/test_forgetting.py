"""Forgetting: what memory lets go of, and what a start takes away."""

from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.attribute import Schema
from server.domain.contact import ContactKind, ContactSubject
from server.domain.erasure import Cut
from server.domain.journal import DecisionMade, DecisionsMade, Entry, IdentifiersLinked, OutcomesReported, Record
from server.domain.outcome import DecisionRef, Outcome
from server.execution.facts import Facts
from server.execution.forgetting import erase_from_log, finish_erasures, forget, forget_erased, redact_journal
from server.execution.redaction import redacted
from server.storage.ledger import MemoryLedger
from server.storage.memory_decision_log import MemoryDecisionLog
from server.storage.memory_journal import MemoryJournal
from tests.support.catalogs import number
from tests.support.clock import NOON_US, ManualClock
from tests.support.decision_records import record
from tests.support.entries import visits
from tests.support.folds import apply, captured, folded, linked, profile, profiles_of, published, received, restored
from tests.support.shared_histories import IDENTIFIERS, SCHEMA, histories, people

CATALOG = published(Schema((number("visits"),)))
TAG = 7
LOG = MemoryDecisionLog()


class NoSnapshots:
    """Counts how often snapshots are renewed."""

    def __init__(self) -> None:
        self.renewed = 0

    async def renew(self) -> int:
        self.renewed += 1
        return 0


def names(facts: Facts) -> set[str]:
    return {facts.profiles.name(row) for row in facts.profiles.identifiers.named()}


def test_forgotten_identifiers_are_unknown_and_their_rows_are_blank() -> None:
    facts = folded([CATALOG, received(visits("c:1", 1.0), visits("c:2", 2.0)), linked("c:1", "c:2")])

    assert forget(facts, ["c:1", "c:2", "c:3"]) == 2

    assert names(facts) == set()
    apply(facts, linked("c:1", "c:4"))
    assert profile(facts, "c:1").attributes == {}
    assert profile(facts, "c:1").identifiers == ("c:1", "c:4")


def test_those_who_stay_keep_their_values_and_their_links() -> None:
    everyone = received(*(visits(f"c:{place}", float(place)) for place in range(5)))
    facts = folded([CATALOG, everyone, linked("c:1", "c:2"), linked("c:2", "c:3"), linked("c:3", "c:4")])

    forget(facts, ["c:2"])

    assert profile(facts, "c:1").identifiers == ("c:1",)
    assert profile(facts, "c:1").attributes == {"visits": 1.0}
    assert profile(facts, "c:3").identifiers == ("c:3", "c:4")


@settings(max_examples=60)
@given(histories(links=True), people)
def test_memory_is_what_the_redacted_journal_comes_to(history: list[Entry], customer: str) -> None:
    entries = [published(SCHEMA), *history]
    live = folded(entries)
    row = live.profiles.find(customer)
    members = {customer} if row < 0 else {live.profiles.name(member) for member in live.profiles.members(row)}

    forget(live, members)
    kept = [redacted(Record(1, entry), lambda name, _: name in members).entry for entry in entries]
    replayed = folded(kept)

    assert names(live).isdisjoint(members)
    assert profiles_of(replayed, sorted(names(replayed))) == profiles_of(live, sorted(names(replayed)))
    assert replayed.sources == live.sources
    # Somebody of whom only a link with the erased was known is still known in memory, by name alone.
    for name in names(live) - names(replayed):
        assert not profile(live, name).attributes
    assert restored(captured(live)).profiles.identifiers.end == live.profiles.identifiers.end


def test_households_keep_the_contacts_of_those_who_stay() -> None:
    entries: list[Entry] = [
        CATALOG,
        DecisionsMade(
            NOON_US, (ContactSubject("a"),), (made(1, "c:1", "h1"), made(2, "c:2", "h1"), made(3, "c:1", "h2"))
        ),
        OutcomesReported(
            NOON_US,
            tuple(Outcome(f"o{n}", ContactKind.CLICK, NOON_US, DecisionRef(n, TAG, 0)) for n in (1, 2, 3)),
            (None, None, None),
        ),
    ]
    live = folded(entries)
    before = live.contacts.household_row("h2")

    forget(live, ["c:1"])

    replayed = folded([redacted(Record(1, entry), lambda name, _: name == "c:1").entry for entry in entries])
    assert contacts(live, "h1") == contacts(replayed, "h1") == [(2, 0), (2, 1), (2, 2)]
    assert live.contacts.household_row("h2") == replayed.contacts.household_row("h2") == -1
    assert not [page for page in captured(live).pages if any(b"h2" in bytes(array) for array in page.arrays.values())]
    # Its row is another household's one day, and nothing of the old one is in it.
    again = restored(captured(live))
    for facts in (live, again):
        apply(facts, DecisionsMade(NOON_US, (ContactSubject("a"),), (made(4, "c:3", "h3"),)))
        assert contacts(facts, "h3") == [(4, 0)]
        assert contacts(facts, "h1") == contacts(replayed, "h1")
    assert live.contacts.household_row("h3") == before


def made(number: int, customer_id: str, household: str) -> DecisionMade:
    return DecisionMade(number, TAG, NOON_US, 0, customer_id, household, NOON_US, (0,))


def contacts(facts: Facts, household: str) -> list[tuple[int, int]]:
    """Number and kind of each event of a household."""
    events = facts.contacts.households.read(facts.contacts.household_row(household))
    assert events is not None
    return list(zip(events.numbers.tolist(), events.kinds.tolist(), strict=True))


async def test_start_forgets_whom_the_snapshot_still_has() -> None:
    ledger = MemoryLedger()
    await ledger.begin(["c:1", "c:2"], 50)
    await ledger.cut(["c:1"], Cut(3, 60, 70))
    facts = folded([CATALOG, received(*(visits(f"c:{place}", 1.0) for place in range(4)))])

    assert forget_erased(facts, ledger, 71) == 1
    assert names(facts) == {"c:0", "c:1", "c:3"}
    assert forget_erased(facts, ledger, 70) == 1
    assert names(facts) == {"c:0", "c:3"}


async def test_start_looks_at_no_row_if_the_snapshot_is_newer_than_every_erasure() -> None:
    ledger = MemoryLedger()
    await ledger.begin(["c:1"], 50)
    await ledger.cut(["c:1"], Cut(3, 60, 70))
    facts = folded([CATALOG, received(visits("c:1", 1.0))])
    facts.profiles.identifiers.named = None  # type: ignore[method-assign,assignment]

    assert forget_erased(facts, ledger, 71) == 0


async def test_journal_is_rewritten_by_times() -> None:
    journal, ledger = MemoryJournal(), MemoryLedger()
    old, new = received(visits("c:1", 1.0), time_us=50), received(visits("c:1", 2.0), time_us=61)
    await journal.append([CATALOG, *[old] * 200, new])
    await ledger.begin(["c:1"], 50)
    await ledger.cut(["c:1"], Cut(3, 60, 70))

    assert await redact_journal(journal, ledger) == 200
    assert (await journal.read(201, 9)) == [Record(202, new)]
    assert await journal.mentioning(["c:1"], 0, 9) == [Record(202, new)]


async def test_records_that_were_decided_for_a_time_to_come_are_removed_at_start() -> None:
    ledger, log = MemoryLedger(), MemoryDecisionLog(now_us=lambda: 55)
    await ledger.begin(["c:1"], 50)
    await ledger.cut(["c:1"], Cut(3, 60, 70))
    for each in (record(1, "c:1", 55), record(2, "c:1", 10**15), record(3, "c:2", 10**15)):
        log.put(each)

    assert await erase_from_log(log, ledger) == 2
    assert [kept.number for kept in await log.between(0, 9, 9)] == [3]


async def test_nothing_is_read_when_everything_is_finished() -> None:
    ledger, snapshots = MemoryLedger(), NoSnapshots()
    journal = MemoryJournal()
    await journal.append([CATALOG])
    clock = ManualClock()

    assert await finish_erasures(0, journal, None, ledger, snapshots, clock, decisions=LOG) == 0
    await ledger.begin(["c:1"], 50)
    await finish_erasures(0, journal, None, ledger, snapshots, clock, decisions=LOG)
    assert (snapshots.renewed, ledger.unfinished) == (1, False)
    await finish_erasures(0, journal, None, ledger, snapshots, clock, decisions=LOG)
    assert snapshots.renewed == 1
    await finish_erasures(1, journal, None, ledger, snapshots, clock, decisions=LOG)
    assert snapshots.renewed == 2


async def test_journal_that_ends_before_an_erasure_is_searched_once() -> None:
    """A backup whose snapshot does not know somebody whom an entry names, as it was refused."""
    journal, ledger, snapshots = MemoryJournal(), MemoryLedger(), NoSnapshots()
    await journal.append([CATALOG, IdentifiersLinked(20, "c:1", "c:2")])
    await ledger.begin(["c:1"], 50)
    await ledger.cut(["c:1"], Cut(9, 60, 70))
    await ledger.complete(["c:1"], 60)

    assert await finish_erasures(0, journal, None, ledger, snapshots, ManualClock(), decisions=LOG) == 1
    assert await finish_erasures(0, journal, None, ledger, snapshots, ManualClock(), decisions=LOG) == 0
    assert snapshots.renewed == 1


@given(st.sets(people))
async def test_forgetting_the_unknown_changes_nothing(gone: set[str]) -> None:
    facts = folded([CATALOG, received(visits("c:1", 1.0))])

    assert forget(facts, gone) == 0
    assert names(facts) == {"c:1"}
    assert len(IDENTIFIERS) == 6
