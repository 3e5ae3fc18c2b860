"""What `python -m loadtest` takes: a scenario, and what it may be told."""

import argparse
from pathlib import Path


def parser(description: str | None) -> argparse.ArgumentParser:
    """The parser of the command line."""
    whole = argparse.ArgumentParser(prog="python -m loadtest", description=description)
    scenarios = whole.add_subparsers(dest="scenario", required=True)
    _add_ranking(scenarios)
    _add_writing(scenarios)
    _add_replay(scenarios)
    _add_foreign(scenarios)
    for scenario in scenarios.choices.values():
        scenario.add_argument("--transport", choices=("native", "grpcio"), default="native")
        scenario.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    _add_reading(scenarios)
    for name in ("rank", "scaling", "deltas", "freshness", "mixed", "audience", "overload"):
        scenarios.choices[name].add_argument(
            "--hold-cores", action="store_true", help="spin on idle cores, for machines that take them away"
        )
    return whole


def _add_ranking(scenarios: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    rank = scenarios.add_parser("rank", help="RankOffers beside an empty call on stock grpc.aio")
    rank.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
    _add_profiles(rank, 100_000)
    rank.add_argument("--demo", action="store_true", help="rank the demo's real catalog and customers")
    guarded = scenarios.add_parser("guarded", help="RankOffers with and without tokens, metrics and log lines")
    guarded.add_argument("--offers", type=_positive, default=100, help="candidates (default: 100)")
    _add_profiles(guarded, 20_000)
    guarded.add_argument("--windows", type=_positive, default=12, help="of each server (default: 12)")
    hostile = scenarios.add_parser("hostile", help="RankOffers beside callers who mean harm")
    hostile.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
    _add_profiles(hostile, 20_000)
    scaling = scenarios.add_parser("scaling", help="ten times the offers, a hundred times the profiles")
    overload = scenarios.add_parser("overload", help="up to four times more than can be done, with deadlines of 100 ms")
    overload.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
    _add_profiles(overload, 20_000)
    overload.add_argument("--seconds", type=_seconds, default=6.0, help="at each load (default: 6)")
    soak = scenarios.add_parser("soak", help="what a server holds more of after long work")
    soak.add_argument("--calls", type=_positive, default=500_000, help="rankings (default: 500000)")
    soak.add_argument("--streams", type=_positive, default=50_000, help="streams to cancel (default: 50000)")
    for scenario in (rank, scaling, hostile):
        scenario.add_argument("--seconds", type=_seconds, default=20.0, help="open loop, each (default: 20)")


def _add_writing(scenarios: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    deltas = scenarios.add_parser("deltas", help="deltas that become durable, beside an empty stream on stock grpc.aio")
    _add_profiles(deltas, 100_000)
    deltas.add_argument("--seconds", type=_seconds, default=60.0, help="open loop, each at most (default: 60)")
    freshness = scenarios.add_parser("freshness", help="from a delta to the first answer that uses it")
    _add_profiles(freshness, 100_000)
    freshness.add_argument("--probes", type=_positive, default=2_000, help="of each kind (default: 2000)")
    mixed = scenarios.add_parser("mixed", help="RankOffers without and with deltas streaming in")
    _add_profiles(mixed, 100_000)
    mixed.add_argument(
        "--rate",
        dest="rate_rps",
        type=_positive,
        default=0,
        help="rankings a second (default: a quarter of the most)",
    )
    mixed.add_argument("--seconds", type=_seconds, default=20.0, help="open loop, each (default: 20)")
    audience = scenarios.add_parser("audience", help="counting everybody, and RankOffers without and with it")
    _add_profiles(audience, 1_000_000)
    audience.add_argument("--runs", type=_positive, default=20, help="counts, one after the other (default: 20)")
    audience.add_argument(
        "--rate", dest="rate_rps", type=_positive, default=200, help="rankings a second (default: 200)"
    )
    audience.add_argument("--seconds", type=_seconds, default=10.0, help="open loop, each (default: 10)")
    caps = scenarios.add_parser("caps", help="many callers racing for the last slots of caps and budgets")
    caps.add_argument("--rounds", type=_positive, default=10_000, help="of the race (default: 10000)")
    caps.add_argument("--callers", type=_positive, default=64, help="at once (default: 64)")
    memory = scenarios.add_parser("memory", help="what a customer costs in memory, and how long loading takes")
    _add_profiles(memory, 1_000_000)
    recover = scenarios.add_parser("recover", help="from a killed server's restart to serving")
    _add_profiles(recover, 1_000_000)
    recover.add_argument(
        "--tail", type=_positive, default=100_000, help="entries behind the snapshot (default: 100000)"
    )
    cold = scenarios.add_parser("cold", help="from a server's start to its first answers")
    cold.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
    _add_profiles(cold, 100_000)
    cold.add_argument("--runs", type=_positive, default=5, help="starts (default: 5)")
    batch = scenarios.add_parser("batch", help="rank-all: every customer of a data folder in one process")
    batch.add_argument("--offers", type=_positive, default=200, help="candidates (default: 200)")
    _add_profiles(batch, 1_000_000)


def _add_replay(scenarios: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    replay = scenarios.add_parser("replay", help="a long history, and every decision of it made again")
    replay.add_argument("--decisions", type=_positive, default=50_000, help="to make and replay (default: 50000)")
    replay.add_argument("--customers", type=_positive, default=2_000, help="who are asked for (default: 2000)")
    replay.add_argument("--seed", type=int, default=11, help="of everything that chance decides (default: 11)")


def _add_reading(scenarios: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What is done with figures that scenarios have written."""
    check = scenarios.add_parser("check", help="hold figures against loadtest/thresholds.toml")
    picture = scenarios.add_parser("picture", help="draw figures")
    picture.add_argument("--out", type=Path, metavar="SVG", required=True, help="where to draw them")
    for reader in (check, picture):
        reader.add_argument("files", type=Path, nargs="+", metavar="FILE", help="figures that --json has written")


def _add_foreign(scenarios: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for name, maker in (("k6", "Grafana"), ("h2load", "nghttp2")):
        foreign = scenarios.add_parser(name, help=f"RankOffers from {maker}'s generator, beside ours")
        foreign.add_argument("--offers", type=_positive, default=1_000, help="candidates (default: 1000)")
        _add_profiles(foreign, 10_000)
        foreign.add_argument(
            "--rate", dest="rate_rps", type=_positive, default=300, help="calls a second (default: 300)"
        )
        foreign.add_argument("--seconds", type=_seconds, default=20.0, help="with each (default: 20)")


def _add_profiles(scenario: argparse.ArgumentParser, default: int) -> None:
    scenario.add_argument("--profiles", type=_positive, default=default, help=f"customers (default: {default})")


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
