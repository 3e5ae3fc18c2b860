"""Replays: what differs is named, and so is what is gone."""

from typing import Any

import numpy as np
import pytest

from server.domain.decision_record import DecisionRecord
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.facts import Facts
from server.execution.replay import Past, Replay, Replayed, answer_bytes
from server.execution.snapshot import FactsHeader, capture
from server.input.pages import SavedPage
from server.storage.ledger import MemoryLedger
from server.stores import NoSnapshots
from tests.support.catalogs import catalog_document, offer_entry, placement_entry
from tests.support.models import FakeModel, appeal
from tests.support.recorded import journal_of
from tests.support.service import Service

CAP = {"count": 1, "window": "30d", "on": "decision"}


def service_of() -> Service:
    offers = [
        offer_entry("a", 4.0, attributes={"appeal": 0.5}, caps=[CAP], eligible="customer.visits > 1.0"),
        offer_entry("b", 2.0, attributes={"appeal": 0.25}),
        offer_entry("c", 1.0, attributes={"appeal": 0.75}),
    ]
    service = Service(catalog_document(offers, [placement_entry(slots=2, model="fake/1")]), FakeModel())
    service.set(visits=3.0)
    return service


async def recorded(service: Service, decision_id: str) -> DecisionRecord:
    found = await service.log.find(int(decision_id[:16], 16), int(decision_id[16:], 16))
    assert found is not None
    return found


async def replayed(
    service: Service, record: DecisionRecord, first: int = 1, model: FakeModel | None = None
) -> Replayed:
    service.note.flush()
    journal = await journal_of(service)
    models = {"fake/1": model or FakeModel()}
    return await Replay(Past(journal, first, NoSnapshots(), MemoryLedger()), models)(record)


async def test_decision_is_the_same_again_whatever_came_later() -> None:
    service = service_of()
    service.rank()
    decision = service.rank()
    record = await recorded(service, decision.decision_id)
    service.set(visits=0.0)
    service.clock.advance(days=40)
    service.rank()

    again = await replayed(service, record)

    assert again.identical, again.differences
    assert answer_bytes(again.decision) == answer_bytes(decision)


async def test_decisions_before_it_are_known_and_those_after_it_are_not() -> None:
    service = service_of()
    decisions = [service.rank() for _ in range(3)]
    records = [await recorded(service, each.decision_id) for each in decisions]
    service.note.flush()
    replay = Replay(Past(await journal_of(service), 1, NoSnapshots(), MemoryLedger()), {"fake/1": FakeModel()})

    found = [await replay(record) for record in records]

    assert [each.differences for each in found] == [(), (), ()]
    assert [each.decision.offers[0].offer_id for each in found] == ["a", "c", "c"]


class Taken:
    """Snapshots in memory; remembers which were read."""

    def __init__(self, *facts: Facts) -> None:
        captures = [capture(each, 0) for each in facts]
        self._saved = {header.offset: (header, list(pages)) for header, pages in captures}
        self.read_offsets: list[int] = []

    def offsets(self) -> list[int]:
        return sorted(self._saved, reverse=True)

    def header(self, offset: int) -> FactsHeader:
        return self._saved[offset][0]

    def read(self, offset: int) -> tuple[FactsHeader, list[SavedPage]]:
        self.read_offsets.append(offset)
        return self._saved[offset]


async def test_snapshot_that_has_the_decision_already_is_not_the_one_to_begin_from() -> None:
    service = service_of()
    first, second = service.rank(), service.rank()
    taken = Taken(service.state.facts)
    third = service.rank()
    service.note.flush()
    journal = await journal_of(service)
    used = {}
    for decision in (first, second, third):
        taken.read_offsets.clear()
        replay = Replay(Past(journal, 1, taken, MemoryLedger()), {"fake/1": FakeModel()})
        found = await replay(await recorded(service, decision.decision_id))
        assert found.identical, found.differences
        used[decision.decision_id] = list(taken.read_offsets)

    # All three were made at the entry of the snapshot, which has two of them.
    assert list(used.values()) == [[], [], [first.profile_version]]


async def test_what_differs_is_named() -> None:
    service = service_of()
    record = await recorded(service, service.rank().decision_id)

    again = await replayed(service, record, model=FakeModel(lambda tensors: appeal(tensors) * np.float32(0.5)))

    differences = {each.field: each for each in again.differences}
    assert not again.identical
    assert float(differences["offers[0].propensity"].recorded) == pytest.approx(0.5)
    assert float(differences["offers[0].propensity"].replayed) == pytest.approx(0.25)


@pytest.mark.parametrize("field", ["truth", "variables", "granted", "counted", "capped"])
async def test_every_part_of_a_record_is_compared(field: str) -> None:
    service = service_of()
    service.rank()
    record = await recorded(service, service.rank().decision_id)
    changed: dict[str, Any] = {
        "truth": ~record.truth, "variables": record.variables + 1, "granted": 7, "counted": (),
        "capped": record.capped[:0],
    }  # fmt: skip

    again = await replayed(service, record._replace(**{field: changed[field]}))

    assert {each.field.partition("[")[0] for each in again.differences} == {field}


@pytest.mark.parametrize(
    ("missing", "first", "changes"),
    [("journal", 2, {}), ("journal", 1, {"profile_version": 99}), ("catalog", 1, {"catalog_version": 9})],
)
async def test_what_is_gone_is_named(missing: str, first: int, changes: dict[str, Any]) -> None:
    service = service_of()
    record = await recorded(service, service.rank().decision_id)

    with pytest.raises(OpportuneError) as refused:
        await replayed(service, record._replace(**changes), first)

    assert (refused.value.reason, refused.value.metadata) == (ErrorReason.VERSION_GONE, {"missing": missing})


def test_answers_that_differ_in_anything_have_other_bytes() -> None:
    decision = service_of().rank()
    shown = decision.ranking.shown[0]
    others = [
        decision._replace(decision_id="0"),
        decision._replace(catalog_version=9),
        decision._replace(model_version="other/1"),
        decision._replace(ranking=decision.ranking._replace(propensities=[0.1, 0.2])),
        decision._replace(ranking=decision.ranking._replace(shown=[shown._replace(creative_id="x"), shown])),
    ]

    assert len({answer_bytes(each) for each in [decision, *others]}) == 1 + len(others)
