"""Records of decisions as bytes and back."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.domain.decision_record import DecisionRecord
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage.decision_codec import Encoded, decode, encode, waiting
from tests.support.decision_records import record, records
from tests.support.entries import exact


def weight(of: DecisionRecord) -> int:
    return waiting(of)[2]


def encoded(*given: DecisionRecord) -> Encoded:
    return encode([waiting(each) for each in given])


@given(st.lists(records(), min_size=1, max_size=4))
def test_records_come_back_as_they_were(given: list[DecisionRecord]) -> None:
    assert exact(tuple(decode(encoded(*given)))) == exact(tuple(_in_utc(each) for each in given))


def _in_utc(of: DecisionRecord) -> DecisionRecord:
    """The record with its points in time in UTC, which is how they are written."""
    attributes = {
        name: value.astimezone(UTC) if isinstance(value, datetime) else value
        for name, value in of.query.context.attributes.items()
    }
    time = of.query.context.time
    context = of.query.context._replace(time=time and time.astimezone(UTC), attributes=attributes)
    return of._replace(query=of.query._replace(context=context))


def test_only_the_numbers_that_are_asked_for_are_decoded() -> None:
    batch = encoded(record(3), record(5), record(4))

    assert [found.number for found in decode(batch, 4, 5)] == [5, 4]
    assert decode(batch, 6, 9) == []


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "numbers", [np.arange(10, dtype=np.uint16), np.arange(10, dtype=np.int32), np.arange(20)[::2], np.arange(10)[::-1]]
)
def test_arrays_of_other_types_and_layouts_are_written_as_what_they_mean(place: int, numbers: NDArray[Any]) -> None:
    given = [record(1), record(2)]
    given[place] = given[place]._replace(shown=numbers, variables=numbers.astype(np.float64))

    found = decode(encoded(*given))

    assert [found[place].shown.dtype.char, found[place].variables.dtype.char] == ["l", "f"]
    assert found[place].shown.tolist() == found[place].variables.tolist() == numbers.tolist()
    assert exact(found[1 - place]) == exact(given[1 - place])


def test_array_that_does_not_fit_its_type_is_refused() -> None:
    with pytest.raises(TypeError, match="Cannot cast"):
        encoded(record(1)._replace(shown=np.full(10, 0.5)))


def test_arrays_that_should_be_equally_long_and_are_not_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        encoded(record(1)._replace(propensity=np.zeros(9)))


def test_records_of_a_newer_server_are_named_as_such() -> None:
    with pytest.raises(NewerEntryError, match="version 2"):
        decode(encoded(record(1))._replace(version=2))


@pytest.mark.parametrize("version", [0, -1])
def test_version_that_never_was_is_damage(version: int) -> None:
    with pytest.raises(JournalDamagedError, match="no version"):
        decode(encoded(record(1))._replace(version=version))


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
@pytest.mark.parametrize("part", ["queries", "columns"])
def test_bytes_that_are_cut_off_are_damage_and_the_error_says_nothing_of_a_customer(kept: int, part: str) -> None:
    batch = encoded(record(1, "cookie:secret"))
    short = getattr(batch, part)[:kept]
    if part == "queries" and kept in (3, 100):
        short = getattr(batch, part)[: kept % 50]

    with pytest.raises(JournalDamagedError) as damage:
        decode(batch._replace(**{part: short}))

    assert "secret" not in str(damage.value)


def test_heavier_records_weigh_more() -> None:
    usual = record(1)
    query = usual.query._replace(candidate_offer_ids=tuple(f"offer-{number}" for number in range(1_000)))

    assert weight(usual) > usual.variables.nbytes
    assert weight(usual._replace(query=query)) > weight(usual) + 10_000
    assert weight(usual._replace(variables=np.zeros(1_000, np.float32))) > weight(usual) + 3_000
