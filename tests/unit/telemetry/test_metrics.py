import ast
import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric as Family

from server.cli import main
from server.telemetry.exposition import Exposition
from server.telemetry.metrics import ALL, Kind, markdown

SERVER = Path(__file__).parents[3] / "server"


def calls_of(source: Path, name: str) -> int:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return sum(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )


def test_every_metric_has_a_name_of_its_own_and_says_what_it_means() -> None:
    assert len({metric.name for metric in ALL}) == len(ALL) > 40
    for metric in ALL:
        assert re.fullmatch(r"(opportune|process|grpc_server)_[a-z_]+", metric.name), metric.name
        assert metric.meaning.endswith(".") and len(metric.meaning) > 20, metric.name
        assert metric.unit, metric.name


def test_names_say_kind_and_unit() -> None:
    for metric in ALL:
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        if metric.unit in ("seconds", "bytes"):
            assert metric.unit in metric.name, metric.name
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.bounds) == sorted(set(metric.bounds)), metric.name


def test_no_metric_is_declared_or_made_anywhere_else() -> None:
    for source in SERVER.rglob("*.py"):
        if "telemetry" not in source.parts:
            text = source.read_text(encoding="utf-8")
            assert "prometheus_client" not in text, source
            assert "Kind.COUNTER" not in text and not calls_of(source, "Metric"), source


def test_page_of_metrics_is_the_list() -> None:
    page = (SERVER / "METRICS.md").read_text(encoding="utf-8")

    assert page == markdown(), "python -m server metrics --markdown > server/METRICS.md"
    assert all(f"| `{metric.name}` |" in page for metric in ALL)


def test_command_prints_the_page_or_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(["metrics", "--markdown"])
    page = capsys.readouterr().out
    main(["metrics"])
    lines = capsys.readouterr().out.splitlines()

    assert page == markdown()
    assert [line.partition(" ")[0] for line in lines] == [metric.name for metric in ALL]


def test_names_are_what_prometheus_takes() -> None:
    exposition = Exposition()
    for metric in ALL[:-1]:
        exposition.read(metric, dict)

    assert all(isinstance(family, Family) for family in exposition.collect())
