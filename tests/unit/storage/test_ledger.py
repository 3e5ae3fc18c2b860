"""The erasure ledger: what it covers, and what becomes of its file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from server.domain.erasure import Cut, ErasureLedger
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.storage.ledger import FileLedger, MemoryLedger

CUT = Cut(7, 200, 210)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "erasures"


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, path: Path) -> ErasureLedger:
    return MemoryLedger() if request.param == "memory" else FileLedger.open(path)


def test_new_ledger_covers_nobody(ledger: ErasureLedger) -> None:
    assert (len(ledger), ledger.newest_us, ledger.offset, ledger.unfinished) == (0, 0, 0, False)
    assert not ledger.covers("c:1", 0)
    assert not ledger.covers_stored("c:1", 0)


async def test_erasure_covers_everything_until_it_is_cut(ledger: ErasureLedger) -> None:
    await ledger.begin(["c:1", "c:2"], 100)

    assert (len(ledger), ledger.unfinished) == (2, True)
    assert ledger.covers("c:1", 10**18)
    assert ledger.covers_stored("c:2", 10**18)
    assert not ledger.covers("c:3", 0)


async def test_cut_parts_what_was_received_and_what_was_stored(ledger: ErasureLedger) -> None:
    await ledger.begin(["c:1"], 100)
    await ledger.cut(["c:1"], CUT)

    assert (ledger.covers("c:1", 200), ledger.covers("c:1", 201)) == (True, False)
    assert (ledger.covers_stored("c:1", 210), ledger.covers_stored("c:1", 211)) == (True, False)
    assert (ledger.newest_us, ledger.offset, ledger.unfinished) == (210, 7, True)


async def test_completing_leaves_an_erasure_that_was_begun_since(ledger: ErasureLedger) -> None:
    await ledger.begin(["c:1", "c:2"], 100)
    await ledger.begin(["c:1"], 300)
    await ledger.cut(["c:1", "c:2"], CUT)
    await ledger.complete(["c:1", "c:2"], 200)

    assert ledger.unfinished
    assert ledger.covers("c:1", 10**18)
    assert not ledger.covers("c:2", 201)

    await ledger.cut(["c:1"], Cut(9, 300, 300))
    await ledger.complete(["c:1"], 300)
    assert not ledger.unfinished
    assert (ledger.covers("c:1", 300), ledger.covers("c:1", 301)) == (True, False)


async def test_finishing_cuts_only_what_is_not_cut(ledger: ErasureLedger) -> None:
    await ledger.begin(["c:1", "c:2"], 100)
    await ledger.cut(["c:1"], CUT)

    await ledger.finish(Cut(3, 900, 900))

    assert not ledger.unfinished
    assert not ledger.covers("c:1", 201)
    assert (ledger.covers("c:2", 900), ledger.covers("c:2", 901)) == (True, False)
    assert (ledger.newest_us, ledger.offset) == (900, 3)


async def test_file_says_the_same_after_a_restart_and_names_nobody(path: Path) -> None:
    ledger = FileLedger.open(path)
    await ledger.begin(["cookie:anna", "cookie:bert"], 100)
    await ledger.cut(["cookie:anna"], CUT)
    await ledger.complete(["cookie:anna"], 200)

    again = FileLedger.open(path)

    for each in (ledger, again):
        assert (len(each), each.unfinished, each.offset) == (2, True, 7)
        assert (each.covers("cookie:anna", 200), each.covers("cookie:anna", 201)) == (True, False)
        assert each.covers("cookie:bert", 10**18)
    assert b"anna" not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    await again.finish(Cut(1, 5, 5))
    assert not FileLedger.open(path).unfinished


async def test_same_identifier_has_another_hash_in_another_ledger(tmp_path: Path) -> None:
    lines = []
    for name in ("a", "b"):
        ledger = FileLedger.open(tmp_path / name)
        await ledger.begin(["c:1"], 100)
        lines.append((tmp_path / name).read_text().splitlines()[1].split()[1])

    assert lines[0] != lines[1]


async def test_torn_last_line_is_cut_off_wherever_it_ends(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = FileLedger.open(path)
    await ledger.begin(["c:1"], 100)
    whole = path.read_bytes()
    await ledger.begin(["c:2"], 200)
    content = path.read_bytes()

    for size in range(len(whole) + 1, len(content)):
        path.write_bytes(content[:size])
        caplog.clear()
        torn = FileLedger.open(path)
        assert len(torn) == 1
        assert f"{path}: its last line was not written to its end" in caplog.text
        await torn.begin(["c:3"], 300)
        assert len(FileLedger.open(path)) == 2


def test_torn_first_line_is_made_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"opportune-erasures 1 00ff")

    assert len(FileLedger.open(path)) == 0
    assert "is made again" in caplog.text
    assert len(FileLedger.open(path)) == 0


async def test_damage_is_named_with_its_line(path: Path) -> None:
    ledger = FileLedger.open(path)
    for number in range(3):
        await ledger.begin([f"c:{number}"], number)
    lines = path.read_bytes().splitlines(keepends=True)
    changed = lines[2].replace(b"begin", b"cut  ")

    for damaged, line in (
        ([lines[0], lines[1], changed, lines[3]], 3),
        ([lines[0], lines[2], lines[3]], 2),
        ([lines[0], lines[2], lines[1], lines[3]], 2),
        (lines[1:], 1),
        ([*lines, lines[3]], 5),
        ([*lines, b"\n"], 5),
    ):
        path.write_bytes(b"".join(damaged))
        with pytest.raises(JournalDamagedError, match=rf"erasures: line {line} is not what was written"):
            FileLedger.open(path)


async def test_every_flipped_bit_of_a_line_is_noticed(path: Path) -> None:
    ledger = FileLedger.open(path)
    await ledger.begin(["c:1"], 100)
    await ledger.begin(["c:2"], 100)
    content = path.read_bytes()
    start = content.index(b"begin")
    end = content.index(b"\n", start)

    for place in range(start, end):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            with pytest.raises(JournalDamagedError):
                FileLedger.open(path)


def test_ledger_of_a_newer_server_is_refused(path: Path) -> None:
    path.write_bytes(b"opportune-erasures 2 00ff 0123\n")

    with pytest.raises(NewerEntryError, match="erasures: a newer server wrote it"):
        FileLedger.open(path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
async def test_note_that_cannot_be_written_is_not_known(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = FileLedger.open(path)
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", _failing(number))
    with pytest.raises(OpportuneError) as refused:
        await ledger.begin(["c:1"], 100)
    monkeypatch.setattr(os, "fsync", fsync)

    assert len(ledger) == 0
    if number == errno.ENOSPC:
        assert refused.value.reason is ErrorReason.JOURNAL_FULL
        await ledger.begin(["c:2"], 200)
    else:
        assert refused.value.reason is ErrorReason.JOURNAL_FAILED
        with pytest.raises(OpportuneError):
            await ledger.begin(["c:2"], 200)
    assert not FileLedger.open(path).covers("c:1", 0)


def _failing(number: int) -> Callable[[int], None]:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    return fsync


async def test_ledger_is_read_without_being_changed(path: Path) -> None:
    await FileLedger.open(path).begin(["c:1"], 100)
    with path.open("ab") as file:
        file.write(b"begin 00")  # A server is about to write the rest.
    content = path.read_bytes()

    ledger = FileLedger.read(path)

    assert ledger.covers("c:1", 10**18)
    assert not ledger.covers("c:2", 0)
    assert path.read_bytes() == content


def test_empty_ledger_is_read_as_nobody(path: Path) -> None:
    path.touch()

    assert len(FileLedger.read(path)) == 0
    assert path.read_bytes() == b""


async def test_damaged_ledger_is_refused_by_those_who_read_it(path: Path) -> None:
    await FileLedger.open(path).begin(["c:1"], 100)
    content = bytearray(path.read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)

    with pytest.raises(JournalDamagedError, match="line 2"):
        FileLedger.read(path)
