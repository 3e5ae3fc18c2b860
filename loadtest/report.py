"""The figures, for people on standard output and for programs in a JSON file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SIGNIFICANT = 5
"""Digits kept in the JSON file; more would pretend to a precision that no machine has."""


def write_json(file: Path, figures: Mapping[str, Any]) -> None:
    """Writes the figures, rounded."""
    file.write_text(json.dumps(_rounded(figures), indent=2) + "\n")


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{SIGNIFICANT}g}")
        case Mapping():
            return {key: _rounded(one) for key, one in value.items()}
        case list():
            return [_rounded(one) for one in value]
    return value


def rank_table(figures: Mapping[str, Any]) -> str:
    """The scenario `rank` as a table: ours beside the empty call, and their ratios."""
    empty = figures["empty"]
    title = f"RankOffers: {figures['candidates']:,} offers ({figures['eligible_mean']:.0f} eligible), "
    title += f"{figures['profiles']:,} profiles, {figures['transport']} transport"
    rows = [
        _row("saturated, calls/s", figures["saturated_rps"], empty["saturated_rps"], ",.0f"),
        _row("server CPU, µs/call", figures["server_cpu_us_per_call"], empty["server_cpu_us_per_call"], ",.0f"),
        *(_row(f"{name}, ms", figures[key], empty[key], ".3f") for name, key in _PERCENTILES),
        f"  {'errors':24}{figures['errors']:>12,}{empty['errors']:>12,}",
    ]
    head = f"  {'':24}{'ours':>12}{'empty':>12}{'ratio':>9}"
    return "\n".join([title, "", head, *rows, "", *_notes(figures)])


_PERCENTILES = (("p50", "p50_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms"))


def _row(name: str, ours: float, empty: float, form: str) -> str:
    ratio = f"{ours / empty:9.2f}" if empty else f"{'-':>9}"
    return f"  {name:24}{ours:>12{form}}{empty:>12{form}}{ratio}"


def _notes(figures: Mapping[str, Any]) -> list[str]:
    """What the table rests on."""
    loads = figures["saturation"]
    cores = ", ".join(
        f"{name} {load['server_cores']:.2f} + generator {load['generator_cores']:.2f}" for name, load in loads.items()
    )
    notes = [
        "empty: a generated servicer on stock grpc.aio with uvloop that answers alike, with answers of the same size.",
        f"Latencies: open loop at {figures['rate_rps']:,.0f} calls/s, from the intended send time, "
        f"{figures['samples']:,} samples; the generator itself was late by "
        f"{figures['generator_lateness_p99_ms']:.2f} ms at p99.",
        f"Cores used when saturated: {cores}. Steal at most {figures['steal_percent']:.2f} %, "
        f"other processes at most {figures['others_percent']:.1f} %.",
    ]
    if figures["generator_bound"]:
        notes.append("The generator was full and the server was not: the saturated rate is a lower bound.")
    return notes


def guarded_table(figures: Mapping[str, Any]) -> str:
    """The scenario `guarded`: the open server, the guarded ones, and the difference."""
    kinds = [figures[kind] for kind in ("open", "guarded", "logged")]
    rows = [
        f"  {name:24}" + "".join(f"{kind[key]:>12,.1f}" for kind in kinds)
        for name, key in (("server CPU, µs/call", "cpu_us_per_call"), ("saturated, calls/s", "saturated_rps"))
    ]
    title = f"Tokens, metrics, and log lines: {figures['candidates']:,} offers, {figures['transport']} transport"
    notes = [
        f"Added to a call by tokens, metrics and logs: {figures['added_us_per_call']:.1f} µs of CPU; with a line for "
        f"each call {figures['added_us_per_call_with_lines']:.1f} µs. {figures['windows']} windows each.",
        f"Errors {figures['errors']}. Steal at most {figures['steal_percent']:.2f} %, "
        f"other processes at most {figures['others_percent']:.1f} %.",
    ]
    return "\n".join([title, "", f"  {'':24}{'open':>12}{'guarded':>12}{'logged':>12}", *rows, "", *notes])


def scaling_table(figures: Mapping[str, Any]) -> str:
    """The scenario `scaling`: each size beside the smaller one, and the ratio."""
    rows = [
        *_scaling_rows("offers", figures["offers"], (("CPU, µs/call", "cpu_us_per_call", "cpu_ratio"),)),
        *_scaling_rows(
            "profiles",
            figures["profiles"],
            (
                ("CPU, µs/call", "cpu_us_per_call", "cpu_ratio"),
                ("p50, ms", "p50_ms", "p50_ratio"),
                ("p99, ms", "p99_ms", "p99_ratio"),
            ),
        ),
    ]
    title = f"RankOffers at other sizes, {figures['transport']} transport"
    notes = [
        f"Latencies: open loop at {figures['profiles']['rate_rps']:,.0f} calls/s, from the intended send time.",
        f"Errors {figures['errors']}. Steal at most {figures['steal_percent']:.2f} %, "
        f"other processes at most {figures['others_percent']:.1f} %.",
    ]
    return "\n".join([title, "", *rows, "", *notes])


def _scaling_rows(what: str, compared: Mapping[str, Any], figures: Sequence[tuple[str, str, str]]) -> list[str]:
    few, many = compared["counts"]
    head = f"  {what:24}{few:>12,}{many:>12,}{'ratio':>9}"
    lines = [
        f"  {name:24}{compared[key][0]:>12,.2f}{compared[key][1]:>12,.2f}{compared[ratio]:>9.2f}"
        for name, key, ratio in figures
    ]
    return [head, *lines]
