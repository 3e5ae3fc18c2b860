"""A server that is killed at any moment loses nothing that it acknowledged, and applies nothing twice or in part."""

import time
from collections import Counter
from pathlib import Path

import pytest
from opportune.v1 import profile_service_pb2 as pb

from tests.recovery.processes import warm
from tests.recovery.torture import torture
from tests.recovery.torture_clients import Source
from tests.recovery.torture_model import (
    IDENTIFIERS,
    SAMPLE,
    Messages,
    Model,
    differences,
    is_bad,
    misplaced,
)

KILLS = 50
SEED = 20_261_122
BEGAN_US = 1_795_348_800_000_000


async def test_kills_lose_nothing_acknowledged_and_apply_nothing_twice(tmp_path: Path) -> None:
    started = time.monotonic()

    worlds = await torture(tmp_path, SEED, KILLS, begin=warm, side_by_side=3, kills_each=9)

    kills = sum((world.kills for world in worlds), Counter[str]())
    assert kills.total() >= KILLS
    assert {"any", "snapshot", "truncation", "load", "catalog", "start", "first start"} <= kills.keys()
    assert sum(world.model.deltas for world in worlds) > 10_000
    print(f"{kills}, {time.monotonic() - started:.1f} s")


# The checker itself: it must see one message too few or too many, and one that was applied in part.


@pytest.fixture
def messages() -> Messages:
    return Messages(SEED, "crm", 0, BEGAN_US)


def advanced(messages: Messages, watermark: int) -> Model:
    model = Model()
    model.advance(messages, watermark)
    return model


def found(model: Model) -> list[str]:
    """How the model of 100 messages differs from another."""
    shown = {identifier: model.customer(identifier) for identifier in [*IDENTIFIERS, *SAMPLE]}
    return list(differences(advanced(Messages(SEED, "crm", 0, BEGAN_US), 100), shown))


def test_checker_finds_no_difference_between_the_same_messages(messages: Messages) -> None:
    assert found(advanced(messages, 100)) == []


@pytest.mark.parametrize("watermark", [99, 101])
def test_checker_sees_one_message_too_few_or_too_many(messages: Messages, watermark: int) -> None:
    assert found(advanced(messages, watermark))


def test_checker_sees_any_one_message_that_is_applied_twice(messages: Messages) -> None:
    seen = []
    for sequence in range(1, 101):
        model = advanced(messages, 100)
        model.applied["crm"] = sequence - 1
        model.advance(messages, sequence)
        seen.append(bool(found(model)))

    # What is set or answered twice comes to the same as once; messages of such deltas alone are few.
    assert sum(seen) > 70


def test_checker_sees_a_message_that_is_applied_in_part(messages: Messages, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Messages.deltas
    last = next(n for n in range(100, 0, -1) if len(whole(messages, n)) > 3 and not is_bad(whole(messages, n)[-1]))
    model = advanced(messages, last - 1)
    expected = advanced(messages, last)

    monkeypatch.setattr(Messages, "deltas", lambda self, sequence: whole(self, sequence)[:-1])
    model.advance(messages, last)

    shown = {identifier: model.customer(identifier) for identifier in IDENTIFIERS}
    assert list(differences(expected, shown))


def test_checker_sees_a_customer_who_is_unknown_or_should_be(messages: Messages) -> None:
    empty, full = Model(), advanced(messages, 100)

    assert list(differences(full, {IDENTIFIERS[0]: None}))
    assert list(differences(empty, {IDENTIFIERS[0]: full.customer(IDENTIFIERS[0])}))


def test_checker_sees_a_batch_of_a_load_that_is_missing() -> None:
    loads = Messages(SEED, "bulk", 4, BEGAN_US)
    model, less = Model(), Model()
    model.advance(loads, 5, loads=True)
    less.advance(loads, 4, loads=True)

    assert list(differences(model, {identifier: less.customer(identifier) for identifier in IDENTIFIERS}))


def test_checker_sees_watermarks_below_what_was_acknowledged_or_above_what_was_sent() -> None:
    assert list(misplaced({"crm": 5}, {"crm": 5}, {"crm": 5})) == []
    assert list(misplaced({"crm": 4}, {"crm": 5}, {"crm": 9}))
    assert list(misplaced({"crm": 10}, {"crm": 5}, {"crm": 9}))


def test_source_notes_a_watermark_that_goes_back(messages: Messages) -> None:
    source = Source(messages)
    source.sent = 8
    source.acknowledge(7)

    source.resume(6, 7)

    assert source.problems == ["crm: resumes behind 6, and 7 was acknowledged"]


def test_messages_are_the_same_each_time_and_have_times_of_their_own(messages: Messages) -> None:
    other = Messages(SEED, "shop", 1, BEGAN_US)
    times = [
        delta.event_time.ToMicroseconds()
        for source in (messages, other)
        for sequence in range(1, 500)
        for delta in source.deltas(sequence)
    ]

    assert messages.request(7) == messages.request(7)
    assert isinstance(messages.request(7), pb.StreamProfileDeltasRequest)
    assert len(set(times)) == len(times)
    assert max(times) < BEGAN_US
