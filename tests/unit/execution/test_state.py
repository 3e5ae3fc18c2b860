from collections.abc import Mapping
from unittest.mock import Mock

import pytest

from server.domain.attribute import FloatRow
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import Record
from server.domain.profile import AttributeUpdates, ProfileDelta
from server.execution.facts import CompiledDelta, CompiledDeltas
from server.execution.state import State
from tests.support.catalogs import Document, catalog_document, offer_entry, placement_entry
from tests.support.clock import NOON_US
from tests.support.folds import received
from tests.support.models import FakeModel, Unprepared
from tests.support.service import Service, offer_ids

SCORED = catalog_document([offer_entry("a", attributes={"appeal": 0.5})], [placement_entry(model="fake/1")])


def test_state_without_a_catalog_has_version_zero_and_no_snapshot() -> None:
    state = State({})

    assert (state.catalog_version, state.catalog_etag) == (0, "")
    with pytest.raises(OpportuneError) as refused:
        state.snapshot()
    assert refused.value.reason is ErrorReason.NO_CATALOG


def test_catalog_that_a_model_cannot_take_leaves_the_old_one_serving() -> None:
    model = Unprepared()
    service = Service(catalog_document([offer_entry("old")]), model)
    service.set(visits=1.0)
    entries = len(service.writer.entries)

    with pytest.raises(OpportuneError) as refused:
        service.publish(SCORED | {"attributes": []})

    assert refused.value.reason is ErrorReason.INVALID_CATALOG
    assert len(service.writer.entries) == entries
    assert offer_ids(service.rank()) == ["old"]
    assert service.attributes() == {"visits": 1.0}


class Counting(FakeModel):
    """Counts how often it is prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = 0

    def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
        self.prepared += 1
        return super().precompute(offers)


def scored_at(*placements: str) -> Document:
    return SCORED | {"placements": [placement_entry(name, model="fake/1") for name in placements]}


def test_one_model_is_prepared_as_often_for_many_placements_as_for_one() -> None:
    one, many = Counting(), Counting()

    Service(scored_at("home"), one)
    Service(scored_at("home", "mail", "app"), many)

    assert one.prepared == many.prepared


def test_model_is_prepared_once_for_a_catalog() -> None:
    model = Counting()

    Service(scored_at("home"), model)

    assert model.prepared == 1


def test_deltas_that_were_compiled_for_the_catalog_before_are_compiled_anew() -> None:
    service = Service(catalog_document(attributes=[{"id": "visits", "type": "number"}, {"id": "x", "type": "number"}]))
    state = service.state
    delta = ProfileDelta("a", NOON_US, AttributeUpdates(set={"x": 5.0}))
    compiled = CompiledDeltas(state.profiles.schema, [CompiledDelta(0, delta, state.facts.compile(delta))])

    service.publish(catalog_document(attributes=[{"id": "x", "type": "number"}, {"id": "visits", "type": "number"}]))
    state.apply(Record(state.facts.offset + 1, received(delta)), compiled)

    assert service.attributes("a") == {"x": 5.0}


def test_deltas_that_were_compiled_for_the_same_attributes_are_not_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = Service(catalog_document([offer_entry("a")]))
    service.publish(catalog_document([offer_entry("b")]))
    compiled = Mock(wraps=service.state.facts.compile)
    monkeypatch.setattr(service.state.facts, "compile", compiled)

    service.set("a", visits=1.0)

    assert compiled.call_count == 1
