"""What happens to the messages of a source between acceptance and acknowledgement, when things happen at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.domain.errors import OpportuneError
from server.domain.identity import IdentityPolicy
from server.domain.journal import CatalogPublished, DeltasRejected, journal_full
from server.domain.profile import AttributeUpdates, ProfileDelta
from tests.support.catalogs import number, schema
from tests.support.clock import NOON_US
from tests.support.gated_journal import turns
from tests.support.streams import Ingest, ingesting


@pytest_asyncio.fixture
async def ingest() -> AsyncIterator[Ingest]:
    async with ingesting() as begun:
        yield begun


def visit(customer_id: str = "c", *other_ids: str) -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, AttributeUpdates(increment={"visits": 1.0}), other_ids)


def rejections(ingest: Ingest) -> list[tuple[str, int, list[int]]]:
    """Source, sequence and places of what is recorded as refused."""
    return [
        (entry.source, entry.sequence, [rejection.place for rejection in entry.rejections])
        for group in ingest.journal.groups
        for entry in group
        if isinstance(entry, DeltasRejected)
    ]


async def restrict(ingest: Ingest, max_identifiers: int) -> None:
    """Publishes a catalog that allows customers so many identifiers."""
    schema = ingest.state.profiles.schema
    await ingest.writer.write(CatalogPublished(NOON_US, 2, "2", "", schema, IdentityPolicy(max_identifiers)))


async def settled(ingest: Ingest, sequence: int, *deltas: ProfileDelta) -> list[int]:
    """Applies a message; the places of what was refused."""
    applied = await ingest.apply("crm", sequence, deltas)
    return [rejected.index for rejected in applied.rejected]


async def test_message_that_arrives_in_the_moment_of_a_loss_does_not_overtake_what_was_lost(ingest: Ingest) -> None:
    ingest.journal.gate.clear()
    ingest.journal.failures = [journal_full()]
    first = ingest.apply.accept("crm", 1, [visit()])
    await turns()

    async def overtake() -> object:
        # Wakes up in the same turn of the loop as the writer, behind it.
        await ingest.journal.gate.wait()
        try:
            return (await ingest.apply("crm", 2, [visit()])).acknowledged_sequence
        except OpportuneError as error:
            return error.reason

    second = asyncio.create_task(overtake())
    await turns()
    ingest.journal.gate.set()
    with pytest.raises(OpportuneError):
        await ingest.apply.settle(first)
    await second

    # Else the source is told that 1 was applied, and it never was.
    assert ingest.sources.watermark("crm") == 0


async def test_join_that_would_be_too_large_is_refused_when_it_is_applied_and_recorded(ingest: Ingest) -> None:
    await restrict(ingest, 2)

    refused = await settled(ingest, 1, visit("a"), visit("b", "c", "d"), visit("e"))

    assert refused == [1]
    assert rejections(ingest) == [("crm", 1, [1])]
    assert ingest.visits("b") is None
    assert [ingest.visits(customer) for customer in "ae"] == [1.0, 1.0]


async def test_refusal_is_recorded_once_if_the_message_is_sent_again_while_it_is_on_its_way(ingest: Ingest) -> None:
    await restrict(ingest, 2)
    ingest.journal.gate.clear()
    accepted = [ingest.apply.accept("crm", sequence, [visit("b", "c", "d")]) for sequence in (7, 7, 5)]
    settling = [asyncio.create_task(ingest.apply.settle(each)) for each in accepted]
    await turns()

    ingest.journal.gate.set()
    await asyncio.gather(*settling)

    assert rejections(ingest) == [("crm", 7, [0])]


async def test_refusal_is_recorded_even_if_the_caller_has_left(ingest: Ingest) -> None:
    await restrict(ingest, 2)
    ingest.journal.gate.clear()
    settling = asyncio.create_task(ingest.apply("crm", 1, [visit("b", "c", "d")]))
    await turns()
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)

    ingest.journal.gate.set()
    await turns()

    assert ingest.sources.watermark("crm") == 1
    assert rejections(ingest) == [("crm", 1, [0])]


async def test_delta_that_a_new_catalog_overtakes_is_applied_or_refused(ingest: Ingest) -> None:
    ingest.journal.gate.clear()
    narrower = schema(number("visits"))
    publishing = ingest.writer.write(CatalogPublished(NOON_US, 2, "2", "", narrower, IdentityPolicy()))
    dropped = ProfileDelta("c", NOON_US, AttributeUpdates(set={"tier": "gold"}))
    applying = asyncio.create_task(ingest.apply("crm", 1, [visit(), dropped]))
    await turns()

    ingest.journal.gate.set()
    await publishing
    applied = await applying

    assert ingest.visits("c") == 1.0
    assert [rejected.index for rejected in applied.rejected] == [1]


async def test_batch_that_a_new_catalog_overtakes_is_applied_as_far_as_it_fits(ingest: Ingest) -> None:
    ingest.journal.gate.clear()
    narrower = schema(number("visits"))
    publishing = ingest.writer.write(CatalogPublished(NOON_US, 2, "2", "", narrower, IdentityPolicy()))
    entry = ingest.apply.accept("crm", 1, [visit()])
    await turns()

    ingest.journal.gate.set()
    await asyncio.gather(publishing, ingest.apply.settle(entry))

    assert ingest.visits("c") == 1.0
    assert ingest.sources.watermark("crm") == 1


async def test_late_message_does_not_overtake_one_that_was_lost_and_is_not_sent_again_yet(ingest: Ingest) -> None:
    ingest.journal.gate.clear()
    ingest.journal.failures = [journal_full()]
    accepted = [ingest.apply.accept("crm", sequence, [visit()]) for sequence in (1, 2, 3)]
    await turns()
    ingest.journal.gate.set()
    for each in accepted:
        with pytest.raises(OpportuneError):
            await ingest.apply.settle(each)

    # One stream of the source resumes; another, which has not heard of the loss yet, has 3 again in its buffer.
    await ingest.apply("crm", 1, [visit()])
    with pytest.raises(OpportuneError):
        await ingest.apply("crm", 3, [visit()])
    await ingest.apply("crm", 2, [visit()])
    await ingest.apply("crm", 3, [visit()])

    assert ingest.visits("c") == 3.0
