"""Decisions are entered right behind the last entry that they knew, wherever the journal has them."""

from server.domain.contact import ContactKind, ContactSubject
from server.domain.journal import DecisionMade, DecisionsMade, DeltasReceived, Entry, OutcomesReported
from server.domain.outcome import DecisionRef, Outcome
from server.execution.facts import Facts
from server.execution.timeline import LOOK_AHEAD, Timeline
from server.storage.memory_journal import MemoryJournal
from tests.support.entries import received

SUBJECTS = (ContactSubject("a", "home", "web", "discount", ""),)
HOUR_US = 3_600_000_000


def made(number: int, version: int, customer_id: str = "c:1") -> DecisionMade:
    return DecisionMade(number, number * 7, 1_000 + number, version, customer_id, "", HOUR_US, (0,))


def decisions(*each: DecisionMade) -> DecisionsMade:
    return DecisionsMade(2_000, SUBJECTS, each)


def outcome(outcome_id: str, *, of: int) -> OutcomesReported:
    found = Outcome(outcome_id, ContactKind.IMPRESSION, 5_000, DecisionRef(of, of * 7, 0), "", "")
    return OutcomesReported(5_000, (found,), (None,))


async def journal_of(*entries: Entry) -> MemoryJournal:
    journal = MemoryJournal()
    await journal.append(entries)
    return journal


async def at_the_end(*entries: Entry) -> Facts:
    facts = Facts()
    timeline = Timeline(facts, await journal_of(*entries))
    while await timeline.step():
        pass
    return facts


def reached(facts: Facts, number: int) -> int:
    events = facts.profiles.contacts.read(facts.profiles.find("c:1"))
    assert events is not None
    return int(events.reached[(events.numbers == number) & (events.kinds == ContactKind.DECISION)][0])


async def test_outcome_that_waited_for_the_disk_finds_the_decision_that_was_made_meanwhile() -> None:
    # Decision 2 knew entry 2 and no more, so it was in force when entry 3 was applied.
    facts = await at_the_end(received(1), decisions(made(1, 1)), outcome("o", of=2), decisions(made(2, 2)))

    assert (reached(facts, 1), reached(facts, 2) > 0) == (0, True)


async def test_outcome_comes_before_the_decision_that_knew_it() -> None:
    facts = await at_the_end(received(1), decisions(made(1, 1)), outcome("o", of=2), decisions(made(2, 3)))

    assert (reached(facts, 1), reached(facts, 2)) == (0, 0)


async def test_every_entry_and_every_decision_is_there_at_the_end() -> None:
    facts = await at_the_end(received(1), decisions(made(1, 1), made(2, 1)), received(2), decisions(made(3, 3)))

    assert (facts.offset, facts.contacts.decided) == (4, 3)


async def test_decisions_that_the_facts_have_are_not_entered_again() -> None:
    facts = Facts()
    journal = await journal_of(received(1), decisions(made(1, 1), made(2, 1)))
    timeline = Timeline(facts, journal)
    await timeline.advance(1, 2)
    assert facts.contacts.decided == 1

    again = Timeline(facts, journal)
    while await again.step():
        pass

    events = facts.profiles.contacts.read(facts.profiles.find("c:1"))
    assert events is not None
    assert events.numbers.tolist() == [1, 2]


async def test_advancing_stops_before_the_decision_itself() -> None:
    facts = Facts()
    timeline = Timeline(
        facts, await journal_of(received(1), received(2), decisions(made(1, 1), made(2, 2), made(3, 2)))
    )

    await timeline.advance(2, 3)

    assert (facts.offset, facts.contacts.decided) == (2, 2)


async def test_decision_that_came_later_than_anybody_looks_is_entered_all_the_same() -> None:
    between: list[DeltasReceived] = [received(number) for number in range(2, LOOK_AHEAD + 400)]

    facts = await at_the_end(received(1), *between, decisions(made(1, 1)))

    assert (facts.contacts.decided, facts.offset) == (1, len(between) + 2)
