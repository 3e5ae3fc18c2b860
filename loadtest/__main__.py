"""`python -m loadtest SCENARIO [--json FILE]`: prints a table and writes JSON."""

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from loadtest.ingest import RejectedError
from loadtest.probe import NotRankedError
from loadtest.rank import RankOptions, rank
from loadtest.report import rank_table, scaling_table, write_json
from loadtest.scaling import ScalingOptions, scaling
from loadtest.serving import ServerFailedError
from loadtest.target import GeneratorFailedError

FAILURES = (
    ServerFailedError,
    GeneratorFailedError,
    NotRankedError,
    RejectedError,
    TimeoutError,
)
SET_UP_S_MAX = 420
"""Longest time for starting, loading and saturating; the open loop adds at most six times `--seconds`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a scenario. Exit status 0, 1 if it failed, 130 if it was interrupted."""
    options = _parser().parse_args(arguments)
    _bound(SET_UP_S_MAX + round(6 * options.seconds))
    try:
        figures, table = _run(options)
    except FAILURES as failure:
        print(f"The load test failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; every process that was started is gone.", file=sys.stderr)
        return 130
    if options.json:
        write_json(options.json, figures)
    print(table)
    return 0


def _run(options: argparse.Namespace) -> tuple[Mapping[str, Any], str]:
    if options.scenario == "scaling":
        figures = scaling(
            ScalingOptions(transport=options.transport, seconds=options.seconds, hold_cores=options.hold_cores)
        )
        return figures, scaling_table(figures)
    chosen = RankOptions(
        options.offers, options.profiles, options.transport, options.seconds, options.demo, options.hold_cores
    )
    figures = rank(chosen)
    return figures, rank_table(figures)


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    ranking = scenarios.add_parser("rank", help="RankOffers beside an empty call on stock grpc.aio")
    ranking.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
    ranking.add_argument("--profiles", type=_positive, default=100_000, help="customers (default: 100000)")
    ranking.add_argument("--demo", action="store_true", help="rank the demo's real catalog and customers")
    comparing = scenarios.add_parser("scaling", help="ten times the offers, a hundred times the profiles")
    for scenario in (ranking, comparing):
        scenario.add_argument("--transport", choices=("native", "grpcio"), default="native")
        scenario.add_argument("--seconds", type=_seconds, default=20.0, help="open loop, each (default: 20)")
        scenario.add_argument(
            "--hold-cores", action="store_true", help="spin on idle cores, for machines that take them away"
        )
        scenario.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("from 1 to 3600")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
