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
    axes.set_title(
        f"Latency from the intended send time at {figures['rate_rps']:,.0f} calls/s, {figures['samples']:,} samples",
        loc="left",
    )
    _finish(axes)


def _stretched(percent: str) -> float:
    """Where a percentile stands: each 9 more takes as much room as the one before."""
    from math import log10

    return -log10(1 - float(percent) / 100)


def _finish(axes: Any) -> None:
    axes.grid(color="#e6e9eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


PICTURES = {"rank": _latencies}
"""How the figures of a scenario are drawn."""
