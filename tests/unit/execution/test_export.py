"""Exporting a customer: everything of theirs, and nothing of anybody else."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from server.domain.clock import time_of
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import IdentifierUnlinked
from server.domain.load import ColumnBatch, LoadColumn
from server.domain.profile import AttributeUpdates, ConsentUpdate, Profile, ProfileDelta
from server.execution.export import ExportedChange, ExportedValue, ExportProfile
from server.execution.exported_changes import changes_of
from tests.support.clock import NOON, NOON_US, ManualClock
from tests.support.erasing import Server, serving

ANNA, PHONE, BERT = "cookie:anna-4711", "phone:anna-0815", "cookie:bert-1234"
LATER = NOON + timedelta(hours=1)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path / "data", ManualClock()) as server:
        yield server


async def parts(
    server: Server, customer_id: str = ANNA
) -> tuple[list[Profile], list[ExportedValue], list[ExportedChange]]:
    found = [part async for part in server.export(customer_id)]
    kinds = [type(part) for part in found]
    assert kinds == sorted(kinds, key=[Profile, ExportedValue, ExportedChange].index), "first the profile, last changes"
    return (
        [part for part in found if isinstance(part, Profile)],
        [part for part in found if isinstance(part, ExportedValue)],
        [part for part in found if isinstance(part, ExportedChange)],
    )


async def test_nobody_is_not_found(server: Server) -> None:
    await server.set(ANNA, visits=1.0)

    for customer_id in (BERT, "cookie:anna", "anna-4711", ANNA + "1"):
        with pytest.raises(OpportuneError) as refused:
            await anext(server.export(customer_id))
        assert refused.value.reason is ErrorReason.PROFILE_NOT_FOUND


async def test_id_that_cannot_be_one_is_refused(server: Server) -> None:
    with pytest.raises(OpportuneError) as refused:
        await anext(server.export("not an id"))
    assert refused.value.reason is ErrorReason.INVALID_FIELD


async def test_values_stand_with_their_identifier_and_time(server: Server) -> None:
    await server.set(ANNA, visits=3.0, tags=("vegan", "parent"), last_visit=NOON, email="anna@example.com")
    server.clock.advance(hours=1)
    await server.set(PHONE, visits=5.0, full_name="Anna")
    await server.change(PHONE, AttributeUpdates(increment={"spend.grocery": 2.5}))
    await server.change(PHONE, ConsentUpdate("personalization", True))
    await server.link(ANNA, PHONE)

    (profile,), values, _ = await parts(server, PHONE)

    assert profile == server_profile(server)
    assert profile.identifiers == (ANNA, PHONE)
    assert [value for value in values if value.store == "profile" and value.identifier == ANNA] == [
        ExportedValue(ANNA, "profile", "visits", 3.0, NOON),
        ExportedValue(ANNA, "profile", "tags", ("vegan", "parent"), NOON),
        ExportedValue(ANNA, "profile", "last_visit", NOON, NOON),
    ]
    assert ExportedValue(PHONE, "profile", "visits", 5.0, LATER) in values
    assert ExportedValue(PHONE, "consent", "personalization", True, LATER) in values
    assert [value for value in values if value.store == "vault"] == [
        ExportedValue(ANNA, "vault", "email", "anna@example.com", NOON),
        ExportedValue(PHONE, "vault", "full_name", "Anna", LATER),
    ]


def server_profile(server: Server) -> Profile:
    from server.execution.profiles import GetProfile

    return GetProfile(server.state, server.clock)(PHONE)


async def test_values_without_a_consent_are_exported_too(server: Server) -> None:
    await server.set(ANNA, income=7.0)

    _, values, _ = await parts(server)

    assert values == [ExportedValue(ANNA, "profile", "income", 7.0, NOON)]


async def test_changes_are_listed_in_their_order_without_those_of_others(server: Server) -> None:
    mine = ProfileDelta(ANNA, NOON_US, AttributeUpdates(set={"visits": 1.0}))
    theirs = ProfileDelta(BERT, NOON_US, AttributeUpdates(set={"visits": 4711.0}))
    await server.apply("web", 7, [theirs, mine, theirs])
    server.clock.advance(hours=1)
    columns = (
        LoadColumn("visits", np.array([8.0, 4711.0])),
        LoadColumn("tier", np.array([1.0, 0.0]), ("basic", "gold")),
        LoadColumn("last_visit", np.array([float(NOON_US), np.nan])),
        LoadColumn("member", np.array([1.0, 0.0])),
        LoadColumn("tags", np.array([0.0, 1.0]), ("vegan", "parent"), np.array([1, 1], np.int32)),
    )
    batch = ColumnBatch((ANNA, BERT), np.full(2, NOON_US, np.int64), columns)
    await server.load.settle(server.load.accept("bulk", 3, batch))
    await server.link(ANNA, PHONE)

    _, _, changes = await parts(server)

    words = (
        f"{ANNA} was loaded: visits = 8, tier = gold, last_visit = {NOON.isoformat()}, member = true, "
        f"tags = [vegan] (as of {NOON.isoformat()})"
    )
    assert changes == [
        ExportedChange("web", 7, NOON, mine, ""),
        ExportedChange("bulk", 3, LATER, None, words),
        ExportedChange("", 0, LATER, None, f"{ANNA} and {PHONE} were joined"),
    ]
    assert "bert" not in repr(changes)
    assert "4711.0" not in repr(changes)


async def test_somebody_who_was_parted_is_not_named(server: Server) -> None:
    await server.set(BERT, visits=4711.0)
    await server.change(ANNA, AttributeUpdates(set={"visits": 1.0}), (BERT,))
    await server.change(BERT, AttributeUpdates(set={"tier": "gold"}), (ANNA,))
    await server.unlink(ANNA, BERT)

    (profile,), values, changes = await parts(server)

    assert profile.identifiers == (ANNA,)
    assert [change.description for change in changes] == [
        "",
        f"{ANNA} and another identifier were joined",
        f"{ANNA} was parted from another identifier",
    ]
    assert changes[0].delta is not None
    assert changes[0].delta.other_ids == ()
    assert "bert" not in repr((profile, values, changes))
    assert "gold" not in repr((profile, values, changes))


async def test_text_is_in_no_change_and_a_match_key_neither(server: Server) -> None:
    await server.set(ANNA, email="anna@example.com", visits=1.0)

    _, _, (change,) = await parts(server)

    assert change.delta == ProfileDelta(ANNA, NOON_US, AttributeUpdates(set={"visits": 1.0}))


async def test_what_only_journal_or_vault_hold_is_exported(server: Server) -> None:
    await server.vault.put([server.sealer.seal(PHONE, "email", NOON_US, "anna@example.com")])
    await server.journal.append([IdentifierUnlinked(NOON_US, BERT, "")])

    assert await server.exported(PHONE) == [ExportedValue(PHONE, "vault", "email", "anna@example.com", NOON)]
    (change,) = await server.exported(BERT)
    assert change.description == f"{BERT} was parted from every other identifier"


async def test_without_a_vault_everything_else_is_exported(server: Server) -> None:
    await server.set(ANNA, visits=1.0)
    server.export = ExportProfile(server.state, server.journal, None, server.clock)

    (profile,), values, changes = await parts(server)

    assert (profile.customer_id, len(values), len(changes)) == (ANNA, 1, 1)


async def test_long_histories_are_read_page_by_page(server: Server) -> None:
    for number in range(50):
        await server.set(ANNA, visits=float(number))
        await server.set(BERT, visits=4711.0)

    _, _, changes = await parts(server)

    deltas = [change.delta for change in changes if change.delta is not None]
    assert [delta.change.set["visits"] for delta in deltas if isinstance(delta.change, AttributeUpdates)] == [
        float(number) for number in range(50)
    ]


async def test_entries_that_are_about_nobody_say_nothing(server: Server) -> None:
    schema = server.state.profiles.schema
    for record in await server.journal.read(0, 10):
        assert list(changes_of(record.entry, {ANNA}, schema)) == []
    assert isinstance(time_of(0), datetime)
