"""The scenario `replay`: a long history, and every decision of it made again by another process.

The history runs in this process, over a real data folder and without transport: two lives of a server, one after the
other. The replay is `python -m server replay`, with other seeds for hashes.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from loadtest.history import History, catalog_text
from loadtest.history_model import MODEL, write_history_model
from loadtest.live_folder import SetClock, live_folder
from loadtest.machine import machine
from loadtest.progress import say
from loadtest.serving import ServerFailedError
from loadtest.setting import now

LIVES = 2


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How many decisions there are, by how many customers, and what chance is seeded with."""

    decisions: int = 50_000
    customers: int = 2_000
    seed: int = 11
    transport: str = "native"


class NotReplayedError(Exception):
    """Some decisions were not found again: what is said of the rest says nothing of them."""


def replay(options: ReplayOptions) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file.

    Raises:
        NotReplayedError: some decisions were not replayed.
    """
    started, began = now(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="opportune-replay-") as folder:
        data, models = Path(folder) / "data", Path(folder) / "models"
        write_history_model(models, options.seed)
        history = asyncio.run(_live(data, models, options))
        lived_s = time.perf_counter() - began
        say(f"{options.decisions:,} decisions made in {lived_s:.0f} s; replaying them")
        figures = _replayed(data, models)
    if figures["replayed"] != options.decisions:
        raise NotReplayedError(f"{figures['replayed']:,} of {options.decisions:,} decisions were replayed")
    return {
        "scenario": "replay",
        **figures,
        "decisions": options.decisions,
        "customers": options.customers,
        "rungs": dict(history.rungs),
        "lived_s": lived_s,
        "started": started,
        "machine": machine(),
    }


async def _live(data: Path, models: Path, options: ReplayOptions) -> History:
    """The history, in several lives; the last one makes what decisions are left."""
    rng, clock = Random(options.seed), SetClock()
    history = History(rng, MODEL, options.customers)
    for life in range(LIVES):
        async with live_folder(data, models, clock, rng) as server:
            if not life:
                await server.publish(catalog_text(1, MODEL))
            await history.go_on(server, options.decisions * (life + 1) // LIVES - options.decisions * life // LIVES)
    return history


def _replayed(data: Path, models: Path) -> Mapping[str, Any]:
    """What `python -m server replay` reports: `replayed`, `different` and `seconds`."""
    report = data.with_name("report.json")
    command = [sys.executable, "-m", "server", "replay", "--all-since", "1"]
    command += ["--data", str(data), "--models", str(models), "--json", str(report)]
    done = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "4711"}, check=False, stdout=subprocess.DEVNULL)
    if not report.exists():
        raise ServerFailedError(f"the replay ended with exit code {done.returncode}")
    figures: Mapping[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return figures


def replay_table(figures: Mapping[str, Any]) -> str:
    """The scenario `replay`."""
    rungs = ", ".join(f"{count:,} {rung}" for rung, count in sorted(figures["rungs"].items()))
    return "\n".join([
        f"Replay of {figures['decisions']:,} decisions for {figures['customers']:,} customers in {LIVES} lives",
        "",
        f"  {'replayed':28}{figures['replayed']:>14,d}",
        f"  {'different':28}{figures['different']:>14,d}",
        f"  {'replay, s':28}{figures['seconds']:>14,.1f}",
        f"  {'history, s':28}{figures['lived_s']:>14,.1f}",
        "",
        f"Rungs: {rungs}. Replayed by another process with other hash seeds, byte for byte.",
    ])  # fmt: skip
