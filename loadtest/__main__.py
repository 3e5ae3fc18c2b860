"""`python -m loadtest SCENARIO [--json FILE]`: prints a table and writes JSON."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from loadtest.arguments import parser
from loadtest.audience import AudienceOptions, audience
from loadtest.batch import BatchOptions, batch
from loadtest.caps import CapsOptions, OvershotError, caps, caps_table
from loadtest.cold import ColdOptions, cold
from loadtest.counter import MiscountedError
from loadtest.deltas import DeltasOptions, deltas
from loadtest.foreign import ForeignOptions, foreign_table
from loadtest.freshness import FreshnessOptions, freshness
from loadtest.guarded import GuardedOptions, guarded
from loadtest.h2load import h2load
from loadtest.hostile import HostileOptions, hostile, hostile_table
from loadtest.ingest import RejectedError
from loadtest.k6 import k6
from loadtest.memory import MemoryOptions, memory
from loadtest.mixed import MixedOptions, mixed
from loadtest.overload import OverloadOptions, overload, overload_table
from loadtest.picture import picture
from loadtest.probe import NotRankedError
from loadtest.rank import RankOptions, rank
from loadtest.read_back import NotKeptError
from loadtest.recover import RecoverOptions, recover
from loadtest.replay import NotReplayedError, ReplayOptions, replay, replay_table
from loadtest.report import guarded_table, rank_table, scaling_table, write_json
from loadtest.scaling import ScalingOptions, scaling
from loadtest.serving import ServerFailedError
from loadtest.soak import SoakOptions, soak, soak_table
from loadtest.target import GeneratorFailedError
from loadtest.thresholds import BoundsError, check, read_bounds
from loadtest.writing_report import (
    audience_table,
    batch_table,
    cold_table,
    deltas_table,
    freshness_table,
    memory_table,
    mixed_table,
    recover_table,
)

FAILURES = (
    ServerFailedError,
    GeneratorFailedError,
    NotRankedError,
    NotKeptError,
    MiscountedError,
    NotReplayedError,
    OvershotError,
    RejectedError,
    TimeoutError,
)
SET_UP_S_MAX = 420
"""Longest time for starting, loading and saturating; an open loop adds at most six times `--seconds`."""

LOADED_PER_S_MIN = 10_000
"""A server that is filled more slowly than this is given up."""

SOAKED_PER_S_MIN = 200
"""Rankings and streams that go more slowly than this are given up."""

DECISIONS_PER_S_MIN = 50
"""Decisions that are made and replayed more slowly than this are given up."""


class Scenario(NamedTuple):
    """What a scenario is made of: its options, itself, and its table."""

    options: type[Any]
    run: Callable[[Any], dict[str, object]]
    table: Callable[[Mapping[str, Any]], str]


SCENARIOS: Mapping[str, Scenario] = {
    "rank": Scenario(RankOptions, rank, rank_table),
    "scaling": Scenario(ScalingOptions, scaling, scaling_table),
    "guarded": Scenario(GuardedOptions, guarded, guarded_table),
    "hostile": Scenario(HostileOptions, hostile, hostile_table),
    "deltas": Scenario(DeltasOptions, deltas, deltas_table),
    "freshness": Scenario(FreshnessOptions, freshness, freshness_table),
    "mixed": Scenario(MixedOptions, mixed, mixed_table),
    "memory": Scenario(MemoryOptions, memory, memory_table),
    "recover": Scenario(RecoverOptions, recover, recover_table),
    "caps": Scenario(CapsOptions, caps, caps_table),
    "audience": Scenario(AudienceOptions, audience, audience_table),
    "batch": Scenario(BatchOptions, batch, batch_table),
    "cold": Scenario(ColdOptions, cold, cold_table),
    "overload": Scenario(OverloadOptions, overload, overload_table),
    "soak": Scenario(SoakOptions, soak, soak_table),
    "replay": Scenario(ReplayOptions, replay, replay_table),
    "k6": Scenario(ForeignOptions, k6, foreign_table),
    "h2load": Scenario(ForeignOptions, h2load, foreign_table),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a scenario. Exit status 0, 1 if it failed, 130 if it was interrupted."""
    options = parser(__doc__).parse_args(arguments)
    if options.scenario in READERS:
        return _read(options)
    scenario = SCENARIOS[options.scenario]
    _bound(_seconds_max(options))
    try:
        figures = scenario.run(_chosen(scenario, options))
    except FAILURES as failure:
        print(f"The load test failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; every process that was started is gone.", file=sys.stderr)
        return 130
    if options.json:
        write_json(options.json, figures)
    print(scenario.table(figures))
    return 0


def _read(options: argparse.Namespace) -> int:
    """Does something with figures that are there already."""
    try:
        return READERS[options.scenario](options)
    except BoundsError as error:
        print(error, file=sys.stderr)
        return 1


def _draw(options: argparse.Namespace) -> int:
    picture(options.files, options.out)
    return 0


READERS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "check": lambda options: 0 if check(options.files, read_bounds()) else 1,
    "picture": _draw,
}


def _chosen(scenario: Scenario, options: argparse.Namespace) -> object:
    """The scenario's options: those that the command line takes, and defaults for the others."""
    given = vars(options)
    return scenario.options(
        **{field.name: given[field.name] for field in dataclasses.fields(scenario.options) if field.name in given}
    )


def _seconds_max(options: argparse.Namespace) -> int:
    given: dict[str, Any] = vars(options)
    loading_s = given.get("profiles", 0) / LOADED_PER_S_MIN
    # A probe of each kind takes at most a tenth of a second, set-up of its window included.
    probing_s = given.get("probes", 0) / 10
    racing_s = given.get("rounds", 0) / 10
    replaying_s = given.get("decisions", 0) / DECISIONS_PER_S_MIN
    soaking_s = given.get("calls", 0) / SOAKED_PER_S_MIN + given.get("streams", 0) / SOAKED_PER_S_MIN
    doing_s = soaking_s + 6 * given.get("seconds", 0) + racing_s + replaying_s
    return SET_UP_S_MAX + int(doing_s + probing_s + loading_s)


def _bound(seconds: int) -> None:
    """Makes a run that takes too long, and one that is told to end, unwind like any failure."""

    def unwind(signum: int, frame: FrameType | None) -> None:
        # Once is enough: a second signal would interrupt the ending of the child processes.
        for handled in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
            signal.signal(handled, signal.SIG_IGN)
        if signum == signal.SIGALRM:
            raise TimeoutError(f"It took more than {seconds} s.")
        raise KeyboardInterrupt

    for handled in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(handled, unwind)
    signal.alarm(seconds)


if __name__ == "__main__":
    sys.exit(main())
