import numpy as np
import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.load import ColumnBatch, LoadColumn
from server.execution.load import MAX_CUSTOMERS, LoadProfiles
from tests.support.catalogs import catalog_document
from tests.support.clock import NOON_US
from tests.support.direct_writer import at_once
from tests.support.service import Service


def batch(*customer_ids: str, name: str = "visits") -> ColumnBatch:
    size = len(customer_ids)
    column = LoadColumn(name, np.arange(size, dtype=np.float64))
    return ColumnBatch(customer_ids, np.full(size, NOON_US, np.int64), (column,))


@pytest.fixture
def service() -> Service:
    return Service(catalog_document())


@pytest.fixture
def load(service: Service) -> LoadProfiles:
    return LoadProfiles(service.state, service.sources, service.clock)


def test_loaded_batch_is_visible_and_acknowledged(service: Service, load: LoadProfiles) -> None:
    applied = at_once(load.settle(load.accept("bulk", 7, batch("a", "b"))))

    assert (applied.acknowledged_sequence, applied.profile_version) == (7, 2)
    assert service.attributes("b") == {"visits": 1.0}


def test_batch_that_was_loaded_is_acknowledged_and_not_loaded_again(service: Service, load: LoadProfiles) -> None:
    load.accept("bulk", 7, batch("a", "b"))
    service.set("b", visits=5.0)

    assert at_once(load.settle(load.accept("bulk", 7, batch("a", "b")))).acknowledged_sequence == 7
    assert service.attributes("b") == {"visits": 5.0}


def test_batch_without_customers_asks_how_far_the_load_has_come(load: LoadProfiles) -> None:
    load.accept("bulk", 7, batch("a"))

    assert at_once(load.settle(load.accept("bulk", 0, batch()))).acknowledged_sequence == 7


@pytest.mark.parametrize(
    ("sequence", "of", "field"),
    [
        (0, batch("a"), "sequence"),
        (-1, batch("a"), "sequence"),
        (1, batch("a", "b c"), "customer_ids[1]"),
        (1, batch("a", "a"), "customer_ids"),
        (1, batch("a", name="vists"), "columns[0]"),
        (1, batch(*(str(place) for place in range(MAX_CUSTOMERS + 1))), "customer_ids"),
    ],
)
def test_batch_that_does_not_fit_is_refused_whole(
    service: Service, load: LoadProfiles, sequence: int, of: ColumnBatch, field: str
) -> None:
    with pytest.raises(OpportuneError) as refused:
        load.accept("bulk", sequence, of)

    assert refused.value.violations[0].field == field
    assert (service.state.profile_version, len(service.state.profiles)) == (1, 0)


def test_nothing_is_loaded_before_the_first_catalog() -> None:
    service = Service()

    with pytest.raises(OpportuneError) as refused:
        LoadProfiles(service.state, service.sources, service.clock).accept("bulk", 1, batch("a"))

    assert refused.value.reason is ErrorReason.NO_CATALOG
