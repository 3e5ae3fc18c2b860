"""Processes of their own: what they are given, what they say, how they end, and that they stand back."""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from server.elsewhere import run_elsewhere
from server.standing_back import NICE


async def test_says_what_it_makes_of_what_it_is_given() -> None:
    # More than a pipe holds, both ways.
    given = b'"' + 300_000 * b"a" + b'"'

    assert await run_elsewhere("json.tool", given=given) == (given + b"\n", 0)


async def test_exit_code_is_told() -> None:
    assert (await run_elsewhere("json.tool", given=b"no JSON", is_quiet=True)).code == 1


async def test_process_that_ends_before_it_has_read_everything() -> None:
    ended = await run_elsewhere("no.such.module", given=300_000 * b"a", is_quiet=True)

    assert ended == (b"", 1)


async def test_signal_is_told() -> None:
    assert (await run_elsewhere("timeit", "-s", "import os; os.abort()", is_quiet=True)).code == -6


async def test_others_come_first() -> None:
    priority = "import os, sys; sys.stdin.read(); os._exit(os.getpriority(os.PRIO_PROCESS, 0))"

    assert (await run_elsewhere("timeit", "-s", priority)).code == os.getpriority(os.PRIO_PROCESS, 0) + NICE


async def test_is_killed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def refuse(_: int, pid: int, __: int) -> None:
        raise PermissionError(f"{pid} does not stand back")

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(PermissionError):
        await run_elsewhere("timeit", "-s", "import time; time.sleep(3600)")

    with started[0] as process:
        try:
            assert process.wait(20) == -9
        finally:
            process.kill()


async def test_is_killed_with_its_caller(tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    setup = f"import os, time; open({str(fifo)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"
    running = asyncio.create_task(run_elsewhere("timeit", "-s", setup))
    pid = int(await asyncio.to_thread(fifo.read_text))

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    # The thread that converses with it is the one that collects it.
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not Path("/proc", str(pid)).exists()
