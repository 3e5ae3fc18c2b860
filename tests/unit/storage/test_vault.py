"""The vault in SQLite: its key, its file, and what is left in it."""

import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.domain.vault import everything_of
from server.storage.remains import Remains
from server.storage.sealing import VaultKeyError, VaultSealer, key_from
from server.storage.vault import SqliteVault
from tests.support.erasing import KEY

SEALER = VaultSealer(key_from(KEY))
OTHER = VaultSealer(key_from(KEY[::-1]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
async def vault(path: Path) -> AsyncIterator[SqliteVault]:
    vault = await SqliteVault.open(path, SEALER)
    yield vault
    await vault.close()


def content(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


async def test_texts_survive_a_restart_and_are_in_no_file(path: Path) -> None:
    vault = await SqliteVault.open(path, SEALER)
    await vault.put([SEALER.seal("c:1", "name", 1, "Anna Canaria")])
    await vault.scrub(3)
    await vault.close()

    vault = await SqliteVault.open(path, SEALER)
    assert [text.text for text in (await vault.read(["c:1"]))["c:1"]] == ["Anna Canaria"]
    assert vault.scrubbed_us == 3
    assert b"Canaria" not in content(path)
    await vault.close()


async def test_another_key_is_refused_when_the_vault_is_opened(path: Path) -> None:
    await (await SqliteVault.open(path, SEALER)).close()

    with pytest.raises(VaultKeyError, match="was made with another vault key") as refused:
        await SqliteVault.open(path, OTHER)

    assert str(path) in str(refused.value)
    await (await SqliteVault.open(path, SEALER)).close()


async def test_text_in_another_place_does_not_open(vault: SqliteVault, path: Path) -> None:
    await vault.put([SEALER.seal("c:1", "name", 1, "Anna Canaria"), SEALER.seal("c:2", "name", 1, "Bob")])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE texts SET sealed = (SELECT sealed FROM texts WHERE identifier = 'c:1')")
    connection.close()

    with pytest.raises(JournalDamagedError, match="does not open") as damage:
        await vault.read(["c:2"])

    assert str(path) in str(damage.value)
    assert "Canaria" not in str(damage.value)
    # Whatever is wrong with texts, they can be counted and erased.
    assert await vault.count(["c:2"]) == 1
    await vault.put([everything_of("c:2")])
    assert await vault.read(["c:2"]) == {}


async def test_nothing_is_left_of_erased_customers_among_thousands(vault: SqliteVault, path: Path) -> None:
    random.seed(4711)
    customers = [f"cookie:{random.getrandbits(96):024x}" for _ in range(4_000)]
    for start in range(0, len(customers), 50):
        some = customers[start : start + 50]
        await vault.put(
            [SEALER.seal(one, name, 0, "x" * random.randrange(99)) for one in some for name in ("name", "mail")]
        )
    gone = random.sample(customers, 400)
    sealed = await _sealed(vault, gone)

    for start in range(0, len(gone), 40):
        await vault.put([everything_of(one) for one in gone[start : start + 40]])
        await vault.scrub(start)

    left = content(path)
    assert not [one for one in gone if one.encode() in left]
    assert not [text for text in sealed if text[1:13] in left]
    assert len(await vault.holdings("", 10_000)) == 3_600


async def _sealed(vault: SqliteVault, identifiers: list[str]) -> list[bytes]:
    rows = await vault._select("SELECT identifier, sealed FROM texts")
    return [sealed for identifier, sealed in rows if identifier in set(identifiers)]


async def test_scrub_writes_the_file_anew_if_a_copy_is_left(
    vault: SqliteVault, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    await vault.put([SEALER.seal("c:1", "name", 1, "Ann")])
    await vault.put([everything_of("c:1")])
    await vault.scrub(1)
    assert "anew" not in caplog.text

    await vault.put([SEALER.seal("c:1", "name", 1, "Ann")])
    await vault.put([everything_of("c:1")])
    monkeypatch.setattr(Remains, "are_in", lambda *_: True)
    await vault.scrub(2)
    assert "anew" in caplog.text


async def test_what_a_killed_server_has_taken_back_is_scrubbed_blindly(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    vault = await SqliteVault.open(path, SEALER)
    await vault.put([SEALER.seal("c:1", "name", 1, "Ann")])
    await vault.put([everything_of("c:1")])
    await vault.close()

    vault = await SqliteVault.open(path, SEALER)
    await vault.scrub(1)
    assert caplog.text.count("anew") == 1
    await vault.scrub(2)
    assert caplog.text.count("anew") == 1
    await vault.close()


class FailingConnection(sqlite3.Connection):
    """Refuses statements that write, with an error of SQLite."""

    error: sqlite3.Error | None = None

    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        if self.error is not None and "INSERT" in statement:
            raise self.error
        return super().execute(statement, *parameters)  # type: ignore[arg-type]


def _error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("no")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "reason", "recovers"),
    [
        (sqlite3.SQLITE_FULL, ErrorReason.JOURNAL_FULL, True),
        (sqlite3.SQLITE_IOERR, ErrorReason.JOURNAL_FAILED, False),
    ],
)
@pytest.mark.parametrize("taken_back", [True, False])
async def test_failed_write_keeps_nothing_of_its_batch(
    path: Path, code: int, reason: ErrorReason, recovers: bool, taken_back: bool
) -> None:
    opened: list[FailingConnection] = []
    vault = await SqliteVault.open(path, SEALER, connector=_failing(opened))
    await vault.put([SEALER.seal("c:1", "name", 1, "Ann")])
    opened[0].error = _error(code)

    batch = [SEALER.seal("c:1", "name", 2, "Bob"), *[everything_of("c:1")] * taken_back]
    with pytest.raises(OpportuneError) as refused:
        await vault.put(batch)
    assert refused.value.reason is reason
    assert [text.text for text in (await vault.read(["c:1"]))["c:1"]] == ["Ann"]

    opened[0].error = None
    if recovers:
        await vault.put([SEALER.seal("c:1", "name", 2, "Bob")])
        assert [text.text for text in (await vault.read(["c:1"]))["c:1"]] == ["Bob"]
    else:
        with pytest.raises(OpportuneError):
            await vault.put(batch)
    await vault.close()


def _failing(opened: list[FailingConnection]) -> Callable[[Path], sqlite3.Connection]:
    def connect(path: Path) -> sqlite3.Connection:
        opened.append(sqlite3.connect(path, isolation_level=None, factory=FailingConnection))
        return opened[-1]

    return connect


async def test_file_that_is_no_vault_is_named(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)

    with pytest.raises(JournalDamagedError, match=r"vault\.db"):
        await SqliteVault.open(path, SEALER)


async def test_vault_of_a_newer_server_is_refused(path: Path) -> None:
    await (await SqliteVault.open(path, SEALER)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(NewerEntryError, match="layout 99"):
        await SqliteVault.open(path, SEALER)
