"""The audit log: what is in it, that it is durable when that is said, and that nobody changes it unnoticed."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.domain.audit import AuditEntry
from server.domain.errors import OpportuneError
from server.storage.audit import FileAuditLog
from server.storage.audit_chain import BrokenChainError, verify
from tests.support.audit import entry, written

SMALL = 2_000


@asynccontextmanager
async def opened(folder: Path, max_file_bytes: int = 1 << 20) -> AsyncIterator[FileAuditLog]:
    log = FileAuditLog.open(folder, max_file_bytes=max_file_bytes)
    try:
        yield log
    finally:
        await log.close()


async def filled(folder: Path, count: int, max_file_bytes: int = 1 << 20) -> list[Path]:
    """The files of a log with so many lines, each written alone."""
    async with opened(folder, max_file_bytes) as log:
        for number in range(1, count + 1):
            await log.record(entry(number))
    return sorted(folder.glob("audit-*.jsonl"))


def watched_syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every sync."""
    events: list[str] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        events.append("synced")
        real(descriptor)

    monkeypatch.setattr("os.fsync", sync)
    return events


async def test_line_says_who_what_and_when_and_has_no_identifier(tmp_path: Path) -> None:
    async with opened(tmp_path / "audit") as log:
        await log.record(entry(1_700_000_000, details={"source": "crm"}))

    (line,) = written(tmp_path / "audit")
    key = (tmp_path / "audit" / "key").read_bytes()
    assert line["time"] == "2023-11-14T22:13:20.000000+00:00"
    assert (line["caller"], line["method"], line["status"]) == ("desk", "ProfileService.EraseProfile", "OK")
    assert (line["phase"], line["counts"], line["details"]) == ("ended", {"identifiers": 1}, {"source": "crm"})
    assert line["subjects"] == [hmac.new(key, b"loyalty:42", hashlib.sha256).hexdigest()[:32]]
    assert b"loyalty:42" not in b"".join(path.read_bytes() for path in (tmp_path / "audit").iterdir())


async def test_hash_is_that_of_the_line_with_the_hash_before_it(tmp_path: Path) -> None:
    (path,) = await filled(tmp_path, 3)

    previous = "0" * 64
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text, found, digest = line.rpartition(',"hash":"')
        assert found and json.loads(line)["number"] == number
        assert json.loads(line)["previous"] == previous
        previous = hashlib.sha256(text.encode()).hexdigest()
        assert digest == previous + '"}'


async def test_log_is_for_its_owner_only(tmp_path: Path) -> None:
    await filled(tmp_path / "audit", 1)

    assert (tmp_path / "audit").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "audit").iterdir())


async def test_line_is_synced_before_anybody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = watched_syncs(monkeypatch)
    async with opened(tmp_path) as log:
        events.clear()

        await log.record(entry())
        events.append("told")

    assert events == ["synced", "synced", "told"]


async def test_entries_that_come_together_share_a_sync_and_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = watched_syncs(monkeypatch)
    async with opened(tmp_path) as log:
        synced.clear()
        await asyncio.gather(*(log.record(entry(number)) for number in range(100)))
        assert len(synced) <= 4

    assert [line["time"][17:19] for line in written(tmp_path)] == [f"{number % 60:02}" for number in range(100)]


async def test_chain_goes_on_over_files_and_restarts(tmp_path: Path) -> None:
    await filled(tmp_path, 10, SMALL)
    files = await filled(tmp_path, 10, SMALL)

    found = verify(tmp_path)

    assert len(files) > 2
    assert (found.first, found.last.number, found.files) == (1, 20, len(files))
    assert [line["number"] for line in written(tmp_path)] == list(range(1, 21))


async def test_notes_are_written_when_the_log_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        for number in range(5):
            log.note(entry(number))

    assert verify(tmp_path).last.number == 5


def changed(path: Path, place: int, change: Callable[[bytes], bytes]) -> None:
    """Changes a line of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    lines[place] = change(lines[place])
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace(b"desk", b"dusk"),
        lambda line: line.replace(b'"OK"', b'"NO"'),
        lambda line: b"",
        lambda line: line + line,
        lambda line: line.replace(b"}", b" }", 1),
        lambda line: b"\n" + line,
        lambda line: b"not a line\n",
        lambda line: line[:-2] + b"\n",
    ],
)
@pytest.mark.parametrize("place", [0, 4, 9])
async def test_change_of_any_line_is_found_and_named(
    tmp_path: Path, change: Callable[[bytes], bytes], place: int
) -> None:
    (path,) = await filled(tmp_path, 10)
    before = path.read_bytes()

    changed(path, place, change)

    assert path.read_bytes() != before
    with pytest.raises(BrokenChainError) as broken:
        verify(tmp_path)
    # A line that is dropped is noticed at the one behind it, the last one by the head.
    named = [f"{path.name}, line {place + 1}:", f"{path.name}, line {place + 2}:", "its head says 10"]
    assert any(name in str(broken.value) for name in named)


async def test_lines_that_change_places_are_found(tmp_path: Path) -> None:
    (path,) = await filled(tmp_path, 4)
    lines = path.read_bytes().splitlines(keepends=True)

    path.write_bytes(b"".join([lines[0], lines[2], lines[1], lines[3]]))

    with pytest.raises(BrokenChainError, match="line 2: it does not follow"):
        verify(tmp_path)


@pytest.mark.parametrize("kept", [0, 1, 3])
async def test_log_that_was_cut_short_is_found_by_its_head_and_not_used(tmp_path: Path, kept: int) -> None:
    (path,) = await filled(tmp_path, 4)

    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))

    with pytest.raises(BrokenChainError, match=f"ends with line {kept}, and its head says 4"):
        verify(tmp_path)
    with pytest.raises(BrokenChainError, match="its head says 4"):
        FileAuditLog.open(tmp_path, max_file_bytes=SMALL)


async def test_file_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    files = await filled(tmp_path, 20, SMALL)

    files[1].unlink()

    with pytest.raises(BrokenChainError, match="a file is missing"):
        verify(tmp_path)


async def test_older_files_may_be_kept_elsewhere(tmp_path: Path) -> None:
    files = await filled(tmp_path, 20, SMALL)
    second = int(files[1].stem.removeprefix("audit-"))

    files[0].unlink()

    assert verify(tmp_path).first == second
    await filled(tmp_path, 1, SMALL)
    assert verify(tmp_path).last.number == 21


@pytest.mark.parametrize("content", [None, "", "nonsense", '{"number":000000000000004,"hash":"' + "0" * 64 + '"}\n'])
async def test_head_that_is_gone_or_another_is_found(tmp_path: Path, content: str | None) -> None:
    await filled(tmp_path, 4)
    head = tmp_path / "head"
    head.unlink()
    if content is not None:
        head.write_text(content)

    with pytest.raises(BrokenChainError):
        verify(tmp_path)
    with pytest.raises(BrokenChainError):
        FileAuditLog.open(tmp_path, max_file_bytes=SMALL)


async def test_all_lines_gone_are_missed(tmp_path: Path) -> None:
    (path,) = await filled(tmp_path, 4)

    path.unlink()

    with pytest.raises(BrokenChainError, match="no lines, and its head says that there are 4"):
        verify(tmp_path)


@pytest.mark.parametrize("torn", [b'{"number":5,"ti', b"\0" * 300, b"\0" * 99 + b"\n" + b"\0" * 99])
async def test_line_that_a_crash_has_torn_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    (path,) = await filled(tmp_path, 4)
    with path.open("ab") as file:
        file.write(torn)

    await filled(tmp_path, 2)

    assert verify(tmp_path).last.number == 6


async def test_crash_between_lines_and_head_loses_nothing(tmp_path: Path) -> None:
    files = await filled(tmp_path, 3)
    head = (tmp_path / "head").read_bytes()
    files = await filled(tmp_path, 2)
    (tmp_path / "head").write_bytes(head)

    await filled(tmp_path, 1)

    assert len(files) == 1
    assert verify(tmp_path).last.number == 6


async def test_crash_right_behind_a_new_file_is_survived(tmp_path: Path) -> None:
    await filled(tmp_path, 4)
    (tmp_path / "audit-000000000000005.jsonl").touch()

    await filled(tmp_path, 1)

    assert verify(tmp_path).last.number == 5


async def test_one_server_at_a_time_writes_a_log(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(BrokenChainError, match="another server"):
            FileAuditLog.open(tmp_path, max_file_bytes=SMALL)


class Disk:
    """A disk that can be full. What it is given then is written by half."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._write = os.pwrite
        monkeypatch.setattr("os.pwrite", self.write)

    def write(self, descriptor: int, content: bytes, offset: int) -> int:
        if self.is_full:
            self._write(descriptor, content[: len(content) // 2], offset)
            raise OSError(28, "No space left on device")
        return self._write(descriptor, content, offset)


async def test_full_disk_refuses_what_waits_keeps_notes_and_resumes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(monkeypatch)
    async with opened(tmp_path) as log:
        await log.record(entry(1))
        disk.is_full = True
        log.note(entry(2))
        for number in (3, 4):
            with pytest.raises(OpportuneError) as refused:
                await log.record(entry(number))
            assert refused.value.reason.name == "AUDIT_FAILED"

        disk.is_full = False
        await log.record(entry(5))

    assert [line["time"][17:19] for line in written(tmp_path)] == ["01", "02", "05"]
    assert verify(tmp_path).last.number == 3
    assert [record.levelname for record in caplog.records].count("ERROR") == 1


async def test_log_that_was_closed_writes_to_nobody_elses_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.record(entry())

    with pytest.raises(OpportuneError):
        await log.record(entry())

    assert verify(tmp_path).last.number == 1


async def test_failure_that_is_not_the_disks_refuses_what_waits_and_keeps_notes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(entries: object) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    async with opened(tmp_path) as log:
        with monkeypatch.context() as broken:
            broken.setattr(log, "_write", fail)
            log.note(entry(1))
            with pytest.raises(OpportuneError) as refused:
                await asyncio.wait_for(log.record(entry(2)), 5)
        await log.record(entry(3))

    assert refused.value.reason.name == "AUDIT_FAILED"
    assert "the audit log cannot be written: RuntimeError" in caplog.text
    assert [line["time"][17:19] for line in written(tmp_path)] == ["01", "03"]


@pytest.mark.parametrize("is_next_head_synced", [True, False])
async def test_crash_after_a_head_that_could_not_be_synced_leaves_a_log_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_next_head_synced: bool
) -> None:
    sync, write = os.fsync, os.pwrite
    broken: set[tuple[str, int]] = set()

    def sync_or_fail(descriptor: int) -> None:
        if ("sync", descriptor) in broken:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    def write_or_fail(descriptor: int, content: bytes, offset: int) -> int:
        if ("write", descriptor) in broken:
            raise OSError(28, "No space left on device")
        return write(descriptor, content, offset)

    monkeypatch.setattr("os.fsync", sync_or_fail)
    monkeypatch.setattr("os.pwrite", write_or_fail)
    async with opened(tmp_path / "audit") as log:
        await log.record(entry(1))
        broken.add(("sync", log._head))
        with pytest.raises(OpportuneError):
            await log.record(entry(2))
        if is_next_head_synced:
            broken.clear()
        broken.add(("write", log._file))
        with pytest.raises(OpportuneError):
            await log.record(entry(3))
        broken.clear()
        shutil.copytree(tmp_path / "audit", tmp_path / "crashed")
        await log.record(entry(4))

    await filled(tmp_path / "crashed", 1)
    verify(tmp_path / "crashed")
    assert [line["time"][17:19] for line in written(tmp_path / "audit")] == ["01", "04"]
    assert verify(tmp_path / "audit").last.number == 2


async def test_every_note_that_is_lost_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("server.storage.audit.MAX_NOTES", 3)
    disk = Disk(monkeypatch)
    async with opened(tmp_path) as log:
        for failure in range(2):
            disk.is_full = True
            for number in range(4):
                log.note(entry(number))
            # A thread has the first three, and the fourth had no room; two more come meanwhile, one the second time.
            await asyncio.sleep(0)
            for number in range(2 - failure):
                log.note(entry(10 + number))
            with pytest.raises(OpportuneError):
                await log.record(entry(20))
            disk.is_full = False
            await log.record(entry(30))

    told = [record.getMessage().rpartition("; ")[2] for record in caplog.records if record.levelname == "INFO"]
    assert told == ["3 notes were lost", "2 notes were lost"]
    assert [line["time"][17:19] for line in written(tmp_path)] == ["00", "01", "02", "30"] * 2


async def test_note_that_comes_while_the_log_is_closed_is_counted_and_has_no_writer_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    disk = Disk(monkeypatch)
    log = FileAuditLog.open(tmp_path, max_file_bytes=1 << 20)
    disk.is_full = True
    log.note(entry(1))
    with pytest.raises(OpportuneError):
        await log.record(entry(2))
    disk.is_full = False
    gate, write, batches = threading.Event(), log._write, list[int]()

    def write_slowly(entries: list[AuditEntry]) -> None:
        batches.append(len(entries))
        gate.wait(5)
        write(entries)

    monkeypatch.setattr(log, "_write", write_slowly)
    closing = asyncio.create_task(log.close())
    await asyncio.sleep(0)
    log.note(entry(3))
    await asyncio.sleep(0)
    gate.set()
    await closing

    assert batches == [1]
    assert "1 notes were lost" in caplog.text
    assert [line["time"][17:19] for line in written(tmp_path)] == ["01"]


async def test_key_of_another_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short")

    with pytest.raises(BrokenChainError, match="not the key"):
        FileAuditLog.open(tmp_path, max_file_bytes=SMALL)


@pytest.mark.parametrize("place", [0, 5, 9])
async def test_line_that_was_made_anew_with_its_own_hash_does_not_fit_to_the_next(tmp_path: Path, place: int) -> None:
    (path,) = await filled(tmp_path, 10)

    def forged(line: bytes) -> bytes:
        text = line.rpartition(b',"hash":"')[0].replace(b"desk", b"dusk")
        return text + b',"hash":"' + hashlib.sha256(text).hexdigest().encode() + b'"}\n'

    changed(path, place, forged)

    named = "another than the head knows" if place == 9 else f"line {place + 2}: it does not follow"
    with pytest.raises(BrokenChainError, match=named):
        verify(tmp_path)


async def test_what_a_failed_attempt_has_left_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    async with opened(tmp_path) as log:
        disk.is_full = True
        await asyncio.gather(*(log.record(entry(number)) for number in range(20)), return_exceptions=True)
        disk.is_full = False
        await log.record(entry(1))

    (path,) = tmp_path.glob("audit-*")
    assert path.read_bytes().count(b"\n") == 1
    assert path.read_bytes().endswith(b"}\n")
