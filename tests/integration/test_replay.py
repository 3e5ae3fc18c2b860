"""Decisions of a long history are made again in another process, byte for byte."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from loadtest.history import History, catalog_text
from loadtest.live_folder import SetClock, live_folder
from tests.integration.tiny_model import write_model

DECISIONS = 10_000


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, History]:
    """A data folder with a history of two servers, one after the other, its models, and what happened."""
    folder = tmp_path_factory.mktemp("lived")
    models = folder / "models"
    write_model(models, "tiny", "1")
    rng, clock = Random(11), SetClock()
    history = History(rng, "tiny/1")

    async def live() -> None:
        for life in range(2):
            async with live_folder(folder / "data", models, clock, rng) as server:
                if not life:
                    await server.publish(catalog_text(1, "tiny/1"))
                await history.go_on(server, DECISIONS // 2)

    asyncio.run(live())
    return folder / "data", models, history


def replay(data: Path, models: Path, *arguments: str, seed: str = "77") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "server", "replay", "--data", str(data), "--models", str(models), *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)


def test_every_decision_of_two_lives_is_the_same_again(lived: tuple[Path, Path, History], tmp_path: Path) -> None:
    data, models, history = lived
    report = tmp_path / "report.json"

    done = replay(data, models, "--all-since", "1", "--json", str(report))

    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    figures = json.loads(report.read_text(encoding="utf-8"))
    assert (figures["replayed"], figures["different"]) == (DECISIONS, 0)
    assert set(history.rungs) == {"FULL", "REDUCED", "CACHED", "DEFAULT"}


def test_latest_decisions_are_replayed_from_a_snapshot(lived: tuple[Path, Path, History]) -> None:
    data, models, _ = lived

    done = replay(data, models, "--last", "200", seed="1")

    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    assert "replayed   200" in done.stdout
