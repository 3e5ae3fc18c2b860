"""Pictures of figures, as SVG: for people who would rather look than read."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from loadtest.thresholds import BoundsError, read_figures

OURS, EMPTY, LATE = "#0b6e4f", "#9aa5ad", "#c8553d"
SIZE_IN = (7.2, 3.6)


def picture(files: Sequence[Path], out: Path) -> None:
    """Draws the figures of each file below one another.

    Raises:
        BoundsError: there is no picture of a file's scenario.
    """
    import matplotlib as mpl

    # The same figures give the same bytes, and text stays text.
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "opportune", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
    from matplotlib.figure import Figure

    drawn = list(read_figures(files))
    figure = Figure((SIZE_IN[0], SIZE_IN[1] * len(drawn)), layout="constrained")
    for axes, (file, figures) in zip(figure.subplots(len(drawn), squeeze=False)[:, 0], drawn, strict=True):
        draw = PICTURES.get(figures["scenario"])
        if draw is None:
            raise BoundsError(f"{file}: there is no picture of the scenario {figures['scenario']}")
        draw(axes, figures)
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    out.write_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n", encoding="utf-8")


def _latencies(axes: Any, figures: Mapping[str, Any]) -> None:
    """Percentiles of RankOffers and of the empty call at the same rate, the far ones stretched out."""
    curves = (
        (figures["curve_ms"], OURS, f"RankOffers, {figures['candidates']:,} offers"),
        (figures["empty"]["curve_ms"], EMPTY, "empty call, stock grpc.aio"),
    )
    for curve, colour, label in curves:
        axes.plot(
            [_stretched(percent) for percent in curve], list(curve.values()), "o-", color=colour, label=label, ms=3
        )
    ticks = max((curve for curve, _, _ in curves), key=len)
    axes.set_xticks([_stretched(percent) for percent in ticks], [f"p{percent}" for percent in ticks])
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g} ms")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_title(
        f"Latency from the intended send time at {figures['rate_rps']:,.0f} calls/s, {figures['samples']:,} samples",
        loc="left",
    )
    _finish(axes)


def _goodput(axes: Any, figures: Mapping[str, Any]) -> None:
    """What is answered in time of what is asked, and how long those who are answered wait."""
    steps = figures["steps"]
    loads = [step["load"] for step in steps]
    shares = [100 * step["goodput_rps"] / figures["saturated"]["rate_rps"] for step in steps]
    axes.plot(loads, shares, "o-", color=OURS, ms=4, label="answered in time, % of the saturated rate")
    # Lower rungs cost less, so that more than this is answered when too much is asked.
    full = [100 * min(load, 1) for load in loads]
    axes.plot(loads, full, "--", color=EMPTY, label="what can be ranked in full, % of the same")
    axes.set_ylim(0, 1.15 * max(100, *shares))
    axes.set_xticks(loads, [f"{load:g} x" for load in loads])
    axes.set_xlabel(f"load, as multiples of {figures['saturated']['rate_rps']:,.0f} calls/s, which saturate the server")
    waits = axes.twinx()
    waits.plot(loads, [step["p99_ms"] for step in steps], "s:", color=LATE, ms=4, label="p99 of those answered, ms")
    waits.set_ylim(0, 1.15 * figures["deadline_ms"])
    waits.spines[["top"]].set_visible(False)
    axes.set_title(
        f"Overload: {figures['candidates']:,} offers, every call with a deadline of {figures['deadline_ms']} ms",
        loc="left",
    )
    _finish(axes, waits, legend="lower right")


def _stretched(percent: str) -> float:
    """Where a percentile stands: each 9 more takes as much room as the one before."""
    from math import log10

    return -log10(1 - float(percent) / 100)


def _finish(axes: Any, *twins: Any, legend: str = "upper left") -> None:
    axes.grid(color="#e6e9eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = [line for each in (axes, *twins) for line in each.get_lines()]
    axes.legend(drawn, [line.get_label() for line in drawn], frameon=False, loc=legend)


PICTURES = {"rank": _latencies, "overload": _goodput}
"""How the figures of a scenario are drawn."""
