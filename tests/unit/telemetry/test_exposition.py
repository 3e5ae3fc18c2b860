import asyncio
import logging
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from server.telemetry import metrics
from server.telemetry.exposition import Exposition
from server.telemetry.instruments import Distributions

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def samples(text: str, is_openmetrics: bool = False) -> dict[tuple[str, ...], float]:
    families: Any = parse_openmetrics(text) if is_openmetrics else parse_text(text)  # type: ignore[no-untyped-call]
    return {
        (sample.name, *map("=".join, sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def exposition() -> Exposition:
    calls = Distributions(metrics.CALL_SECONDS)
    for method in range(40):
        calls.of(f"m{method}", "OK").observe(0.002)
    calls.of("m0", "OK").observe(99.0)
    made = Exposition()
    made.read(metrics.CALL_SECONDS, calls.read)
    made.read(metrics.PROFILES, lambda: 7)
    made.read(metrics.DELTAS, lambda: {("applied",): 5, ("refused",): 0})
    made.read(metrics.SNAPSHOT_AGE_SECONDS, lambda: None)
    return made


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
async def test_scrape_has_every_value_in_either_format(exposition: Exposition, accept: str) -> None:
    page = await exposition.render(accept)

    assert page.media_type.startswith("application/openmetrics" if accept == OPENMETRICS else "text/plain")
    found = samples(page.content.decode(), accept == OPENMETRICS)
    assert found["opportune_profiles",] == 7
    assert found["opportune_deltas_total", "outcome=applied"] == 5
    assert found["opportune_deltas_total", "outcome=refused"] == 0
    labels = ("grpc_method=m0", "grpc_status=OK")
    name = "grpc_server_call_duration_seconds"
    assert found[f"{name}_count", *labels] == 2
    assert found[f"{name}_sum", *labels] == pytest.approx(99.002)
    assert found[f"{name}_bucket", *labels, "le=0.001"] == 0
    assert found[f"{name}_bucket", *labels, "le=0.0025"] == found[f"{name}_bucket", *labels, "le=10.0"] == 1
    assert found[f"{name}_bucket", *labels, "le=+Inf"] == 2


async def test_scrape_is_what_the_library_makes_of_it_in_one_go(exposition: Exposition) -> None:
    for accept, render in (("", generate_latest), (OPENMETRICS, generate_openmetrics)):
        page = await exposition.render(accept)

        assert page.content == render(exposition.registry)


async def test_what_has_nothing_to_tell_is_left_out(exposition: Exposition) -> None:
    page = await exposition.render("")

    assert b"snapshot_age" not in page.content


async def test_each_family_is_described_once_however_long_it_is(exposition: Exposition) -> None:
    page = await exposition.render("")

    assert page.content.count(b"# TYPE grpc_server_call_duration_seconds ") == 1
    assert page.content.count(b"_bucket") == 40 * 16


async def test_other_tasks_have_their_turns_during_a_scrape(exposition: Exposition) -> None:
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    await exposition.render("")
    working.cancel()

    assert turns > 10


async def test_metric_that_cannot_be_read_is_left_out_and_counted(
    exposition: Exposition, caplog: pytest.LogCaptureFixture
) -> None:
    exposition.read(metrics.IDENTIFIERS, lambda: 1 // 0)

    with caplog.at_level(logging.ERROR):
        await exposition.render("")
    page = await exposition.render("")

    assert samples(page.content.decode())["opportune_metrics_unreadable_total",] >= 1
    assert b"opportune_profiles 7" in page.content
    assert b"opportune_identifiers" not in page.content
    assert "opportune_identifiers" in caplog.text


def test_metric_has_one_place_to_be_read(exposition: Exposition) -> None:
    with pytest.raises(ValueError, match="opportune_profiles"):
        exposition.read(metrics.PROFILES, lambda: 8)


async def test_fault_of_a_reader_is_logged_once(exposition: Exposition, caplog: pytest.LogCaptureFixture) -> None:
    exposition.read(metrics.IDENTIFIERS, lambda: 1 // 0)

    for _ in range(3):
        await exposition.render("")

    assert len(caplog.records) == 1
