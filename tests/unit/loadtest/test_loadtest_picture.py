"""Pictures of figures."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from loadtest.__main__ import main
from loadtest.latency import CURVE, Latencies

RANK: dict[str, Any] = {
    "scenario": "rank", "candidates": 1000, "rate_rps": 1200.0, "samples": 100_000,
    "curve_ms": {"50": 2.0, "99": 9.0, "99.9": 20.0}, "empty": {"curve_ms": {"50": 1.0, "99": 4.0}},
}  # fmt: skip


def written(folder: Path, **changes: Any) -> str:
    file = folder / "figures.json"
    file.write_text(json.dumps(RANK | changes))
    return str(file)


def test_latencies_are_drawn_beside_those_of_the_empty_call(tmp_path: Path) -> None:
    out = tmp_path / "latency.svg"

    assert main(["picture", written(tmp_path), "--out", str(out)]) == 0

    texts = {element.text for element in ET.parse(out).iter() if element.text}
    assert {"RankOffers, 1,000 offers", "empty call, stock grpc.aio", "p99.9"} <= texts
    assert any("100,000 samples" in text for text in texts)


def test_goodput_is_drawn_against_load(tmp_path: Path) -> None:
    goodput = {0.5: 50.0, 1.0: 95.0, 2.0: 190.0, 4.0: 170.0}
    steps = [{"load": load, "goodput_rps": rate, "p99_ms": 20.0 * load} for load, rate in goodput.items()]
    figures = {
        "scenario": "overload", "candidates": 1000, "deadline_ms": 100, "peak_rps": 100.0,
        "saturated": {"rate_rps": 95.0}, "steps": steps,
    }  # fmt: skip
    out = tmp_path / "overload.svg"

    assert main(["picture", written(tmp_path, **figures), "--out", str(out)]) == 0

    texts = {element.text for element in ET.parse(out).iter() if element.text}
    # All of it is in the picture: 190 of 95 is 200 %.
    assert {"0.5 x", "4 x", "200", "p99 of those answered, ms"} <= texts


def test_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for out in (first, second):
        main(["picture", written(tmp_path), "--out", str(out)])

    assert first.read_bytes() == second.read_bytes()


def test_scenario_without_a_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["picture", written(tmp_path, scenario="caps"), "--out", str(tmp_path / "x.svg")]) == 1
    assert "there is no picture of the scenario caps" in capsys.readouterr().err


def test_curve_ends_where_ten_calls_are_beyond() -> None:
    latencies = Latencies()
    for milliseconds in range(1, 1_001):
        latencies.record(milliseconds / 1_000)

    curve = latencies.curve()

    assert list(curve) == ["50", "75", "90", "95", "99"]
    assert curve["99"] == pytest.approx(990, rel=0.002)
    assert len(CURVE) == 9
