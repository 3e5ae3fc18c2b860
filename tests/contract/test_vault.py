"""What every vault does, whatever it is made of."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.domain.clock import microseconds_of
from server.domain.vault import Holding, OpenedText, SealedText, Vault, everything_of
from server.storage.sealing import VaultSealer, key_from
from server.storage.vault import MemoryVault, SqliteVault
from tests.support.clock import NOON_US, ManualClock
from tests.support.erasing import KEY

SEALER = VaultSealer(key_from(KEY))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["sqlite", "memory"])
async def vault(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Vault]:
    opened: Vault = MemoryVault(SEALER, clock)
    if request.param == "sqlite":
        opened = await SqliteVault.open(tmp_path / "vault.db", SEALER, clock)
    yield opened
    await opened.close()


def sealed(identifier: str, attribute: str, text: str, time_us: int = 0) -> SealedText:
    return SEALER.seal(identifier, attribute, time_us, text)


async def texts(vault: Vault, identifier: str) -> dict[str, str]:
    return {text.attribute: text.text for text in (await vault.read([identifier])).get(identifier, [])}


async def test_new_vault_is_empty(vault: Vault) -> None:
    assert await vault.read(["c:1"]) == {}
    assert await vault.count(["c:1"]) == 0
    assert await vault.holdings("", 10) == []
    assert vault.scrubbed_us == 0
    await vault.put([])


async def test_texts_come_back_by_identifier_and_attribute(vault: Vault) -> None:
    await vault.put(
        [sealed("c:1", "name", "Ann", 1), sealed("c:2", "name", "Bob", 2), sealed("c:1", "mail", "a@b.c", 3)]
    )

    assert await vault.read(["c:1", "c:3"]) == {"c:1": [OpenedText("mail", 3, "a@b.c"), OpenedText("name", 1, "Ann")]}
    assert await vault.count(["c:1", "c:2", "c:3"]) == 3


@pytest.mark.parametrize("at_once", [True, False])
async def test_latest_event_time_wins_and_of_equal_ones_the_last_to_arrive(vault: Vault, at_once: bool) -> None:
    arriving = [("first", 5), ("late", 3), ("second", 5), ("later", 4)]
    batch = [sealed("c:1", "name", text, time_us) for text, time_us in arriving]

    for part in [batch] if at_once else [[text] for text in batch]:
        await vault.put(part)

    assert await texts(vault, "c:1") == {"name": "second"}


async def test_text_that_was_taken_back_does_not_come_back_by_an_older_one(vault: Vault) -> None:
    await vault.put([sealed("c:1", "name", "Ann", 1)])
    await vault.put([SealedText("c:1", "name", 5, None)])
    assert await texts(vault, "c:1") == {}

    await vault.put([sealed("c:1", "name", "Ann", 4)])
    assert await texts(vault, "c:1") == {}
    assert await vault.count(["c:1"]) == 1

    await vault.put([sealed("c:1", "name", "Anna", 6)])
    assert await texts(vault, "c:1") == {"name": "Anna"}


async def test_everything_of_an_identifier_is_taken_back_in_its_place(vault: Vault) -> None:
    await vault.put([sealed("c:1", "name", "old", 9), sealed("c:10", "name", "Bob", 1)])
    await vault.put([SealedText("c:1", "mail", 9, None)])

    await vault.put([sealed("c:1", "mail", "old", 10), everything_of("c:1"), sealed("c:1", "name", "new", 2)])

    # The times of what was taken back are gone too: an older one is not too late any more.
    assert await texts(vault, "c:1") == {"name": "new"}
    assert await vault.count(["c:1"]) == 1
    assert await texts(vault, "c:10") == {"name": "Bob"}


async def test_holdings_are_listed_page_by_page_with_the_time_of_the_newest(vault: Vault, clock: ManualClock) -> None:
    await vault.put([sealed(f"c:{number}", "name", "x") for number in range(4)])
    clock.advance(seconds=1)
    await vault.put([sealed("c:1", "mail", "x"), SealedText("c:9", "mail", 0, None)])

    later = NOON_US + 1_000_000
    assert await vault.holdings("", 2) == [Holding("c:0", NOON_US), Holding("c:1", later)]
    assert await vault.holdings("c:1", 9) == [Holding("c:2", NOON_US), Holding("c:3", NOON_US), Holding("c:9", later)]
    assert later == microseconds_of(clock.now)


async def test_scrub_notes_its_time_and_takes_nothing_that_is_held(vault: Vault) -> None:
    await vault.put([sealed("c:1", "name", "Ann"), sealed("c:2", "name", "Bob")])
    await vault.put([everything_of("c:2")])

    await vault.scrub(7)
    await vault.scrub(5)

    assert vault.scrubbed_us == 7
    assert await texts(vault, "c:1") == {"name": "Ann"}
    assert await vault.read(["c:2"]) == {}


async def test_many_texts_are_put_at_once(vault: Vault) -> None:
    await vault.put([sealed(f"c:{number}", "name", f"name {number}") for number in range(2_000)])

    assert await vault.count([f"c:{number}" for number in range(2_000)]) == 2_000
    assert await texts(vault, "c:1999") == {"name": "name 1999"}
