from collections.abc import Mapping

import pytest

from server.domain.attribute import FloatRow
from server.domain.errors import ErrorReason, OpportuneError
from server.execution.state import State
from tests.support.catalogs import catalog_document, compiled_catalog, offer_entry, placement_entry
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
    scored = compiled_catalog(SCORED | {"attributes": []}, {model.manifest.id: model.manifest})

    with pytest.raises(OpportuneError) as refused:
        service.state.publish(scored)

    assert refused.value.reason is ErrorReason.INVALID_CATALOG

    assert offer_ids(service.rank()) == ["old"]
    assert service.attributes() == {"visits": 1.0}


def test_one_model_is_prepared_once_for_all_its_placements() -> None:
    prepared: list[int] = []

    class Counting(FakeModel):
        """Counts how often it is prepared."""

        def precompute(self, offers: Mapping[str, FloatRow]) -> dict[str, FloatRow]:
            prepared.append(len(offers["offer"]))
            return super().precompute(offers)

    placements = [placement_entry(name, model="fake/1") for name in ("home", "mail")]

    Service(SCORED | {"placements": placements}, Counting())

    assert prepared == [1]
