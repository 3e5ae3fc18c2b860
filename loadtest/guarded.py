"""The scenario `guarded`: what a call costs more on a server that knows its callers and is watched.

Three servers of one workload in turn, saturated: one open and silent; one with static tokens, metrics that are scraped
every second, and logs as JSON as they are by default; and one that also writes a line for every call. All have the same
limits, which cannot be switched off; the difference is what the rest costs.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.credentials import known_tokens
from loadtest.saturation import Saturation, saturate
from loadtest.serving import ServeCommand, opportune
from loadtest.setting import now, setting
from loadtest.stage import ranking, synthetic, workspace
from loadtest.watching import Watching, metrics_address
from loadtest.workload import Workload


@dataclass(frozen=True, slots=True)
class GuardedOptions:
    """What is ranked meanwhile; few offers, so that the difference is not lost in them."""

    offers: int = 100
    profiles: int = 20_000
    transport: str = "native"
    windows: int = 12


def guarded(options: GuardedOptions, serve: ServeCommand = opportune) -> dict[str, object]:
    """Runs the scenario and returns its figures as they go into the JSON file."""
    started = now()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())
        workload = synthetic(directory / "workload", options.offers, options.profiles)
        tokens = directory / "tokens"
        tokens.write_text(known_tokens())
        targets = [stack.enter_context(ranking("open", directory, workload, options.transport, serve)).target]
        for name, settings in (("guarded", ()), ("logged", ("--log-sample", "1"))):
            metrics = metrics_address()
            command = with_guards(serve, tokens, metrics, *settings)
            ranked = stack.enter_context(ranking(name, directory, workload, options.transport, command, known=True))
            stack.enter_context(Watching(metrics).open())
            targets.append(ranked.target)
        without, with_all, with_lines = saturate(targets, options.windows)
    return {
        "scenario": "guarded",
        "transport": options.transport,
        "candidates": options.offers,
        "profiles": options.profiles,
        "open": _figures(without),
        "guarded": _figures(with_all),
        "logged": _figures(with_lines),
        "added_us_per_call": with_all.cpu_us_per_call - without.cpu_us_per_call,
        "added_us_per_call_with_lines": with_lines.cpu_us_per_call - without.cpu_us_per_call,
        "cpu_ratio": with_all.cpu_us_per_call / without.cpu_us_per_call,
        "windows": options.windows,
        **setting([without, with_all, with_lines], started),
    }


def with_guards(serve: ServeCommand, tokens: Path, metrics: str, *settings: str) -> ServeCommand:
    """The same server, which asks callers who they are, counts, and logs."""

    def command(workload: Workload, port: int, transport: str) -> Sequence[str]:
        watching = ["--metrics-listen", metrics, "--log-format", "json", *settings]
        return [*serve(workload, port, transport), "--tokens", str(tokens), *watching]

    return command


def _figures(saturation: Saturation) -> dict[str, object]:
    return {
        "cpu_us_per_call": saturation.cpu_us_per_call,
        "saturated_rps": saturation.rate_rps,
        "callers": saturation.callers,
    }
