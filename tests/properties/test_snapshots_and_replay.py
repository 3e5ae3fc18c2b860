"""What is in memory is a fold over the journal: however one arrives at an offset, the facts are the same."""

from contextlib import suppress
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import OpportuneError
from server.domain.journal import DeltasReceived, Entry, Record
from server.execution.facts import CompiledDelta, CompiledDeltas, Facts
from server.execution.state import State
from server.input.pages import SavedPage
from server.storage.codec import Encoded, decode, encode
from tests.properties.histories import CUSTOMERS, FIRST, anything, known
from tests.support.folds import apply, captured, digest, folded, profiles_of, restored

histories = st.lists(anything, max_size=8)
START = (FIRST, known())


def everything(facts: Facts) -> tuple[object, ...]:
    """All that anybody could ask of facts."""
    versions = [facts.profiles.read_row(facts.profiles.find(customer)).version for customer in CUSTOMERS]
    return (facts.offset, facts.sources, facts.catalog, versions, digest(facts), profiles_of(facts, CUSTOMERS))


@given(histories, histories)
def test_facts_of_a_snapshot_go_on_as_those_that_it_was_taken_of(before: list[Entry], after: list[Entry]) -> None:
    lived = folded([*START, *before])
    from_snapshot = restored(captured(lived))
    assert everything(from_snapshot) == everything(lived)

    for entry in after:
        refused = apply(lived, entry)
        refused_again = apply(from_snapshot, entry)

        assert [(each.index, each.error.message) for each in refused] == [
            (each.index, each.error.message) for each in refused_again
        ]
    assert everything(from_snapshot) == everything(lived)


@given(histories, histories, st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_snapshot_is_of_the_moment_at_which_it_was_begun(
    before: list[Entry], meanwhile: list[Entry], saved_between: list[int]
) -> None:
    facts = folded([*START, *before])
    at_that_moment = everything(facts)

    taken = captured(facts)
    pages: list[SavedPage] = []
    for entry, count in zip(meanwhile, saved_between, strict=False):
        pages += islice(taken.pages, count)
        apply(facts, entry)
    from_snapshot = restored(taken._replace(pages=iter([*pages, *taken.pages])))

    assert everything(from_snapshot) == at_that_moment
    apply(from_snapshot, *meanwhile)
    assert everything(from_snapshot) == everything(facts)


class Server:
    """Checks, compiles, writes and applies as the use cases do, and keeps what it wrote as bytes."""

    def __init__(self) -> None:
        self.journal: list[Encoded] = []
        self.state = State({})
        self._on_their_way: list[tuple[Entry, CompiledDeltas]] = []

    def take(self, entry: Entry, late: bool) -> None:
        """Takes an entry; one that is late is committed behind the next one."""
        if not isinstance(entry, DeltasReceived):
            self._commit(entry)
        elif late:
            self._on_their_way.append(self._checked(entry))
            return
        else:
            self._commit(*self._checked(entry))
        self.finish()

    def finish(self) -> None:
        """Commits what was late."""
        for entry, compiled in self._on_their_way:
            self._commit(entry, compiled)
        self._on_their_way.clear()

    def _checked(self, entry: DeltasReceived) -> tuple[DeltasReceived, CompiledDeltas]:
        good = []
        for place, delta in enumerate(entry.deltas):
            with suppress(OpportuneError):
                good.append(CompiledDelta(place, delta, self.state.facts.compile(delta)))
        return (
            entry._replace(deltas=tuple(each.delta for each in good)),
            CompiledDeltas(self.state.profiles.schema, good),
        )

    def _commit(self, entry: Entry, compiled: CompiledDeltas | None = None) -> None:
        self.journal.append(encode(entry))
        self.state.apply(Record(self.state.facts.offset + 1, entry), compiled)


@given(st.lists(st.tuples(anything, st.booleans()), max_size=12))
def test_replay_of_the_decoded_journal_is_what_was_lived(written: list[tuple[Entry, bool]]) -> None:
    server = Server()
    for first in START:
        server.take(first, late=False)
    for entry, late in written:
        server.take(entry, late)
    server.finish()

    replayed = folded(decode(payload) for payload in server.journal)

    assert everything(replayed) == everything(server.state.facts)
