"""A server that is watched: what its port tells over both transports, and that every declared metric is there."""

import asyncio
import json
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from opportune.v1 import decision_service_pb2
from prometheus_client.parser import text_string_to_metric_families

from server.app import App, start
from server.observing import Observing
from server.settings import Settings
from server.telemetry.metrics import ALL
from tests.integration.commands import begin
from tests.integration.conftest import _known
from tests.integration.connection import TIMEOUT_S, Connection, connected, delta, refusal
from tests.integration.delta_streams import DeltaStream, visit
from tests.support.trace_sink import TraceSink, trace_sink

SAMPLED = (("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-request-id", "req-1"))
RANK = "opportune.v1.DecisionService/RankOffers"


class Watched:
    """A server, a connection to it, and its port for metrics."""

    def __init__(self, app: App, connection: Connection, sink: TraceSink) -> None:
        self.app = app
        self.connection = connection
        self.sink = sink

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of a path."""
        return await asyncio.to_thread(fetch, self.app.observing.port or 0, path)

    async def metrics(self) -> dict[tuple[str, ...], float]:
        """The samples of a scrape, by name and values of labels."""
        status, text = await self.get("/metrics")
        assert status == 200
        families = text_string_to_metric_families(text)
        return {
            (sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples
        }


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest_asyncio.fixture(loop_scope="session")
async def watched(transport: str, models: Path, shop_file: Path, tmp_path: Path) -> AsyncIterator[Watched]:
    """A server for one test."""
    with trace_sink() as sink:
        async with AsyncExitStack() as stack:
            settings = Settings(
                listen="127.0.0.1:0", transport=_known(transport), models=models, catalog=shop_file,
                data=tmp_path / "data", metrics_listen="127.0.0.1:0", otlp_endpoint=sink.url,
            )  # fmt: skip
            app = await start(settings, stack)
            yield Watched(app, await stack.enter_async_context(connected(app.port)), sink)


async def test_every_declared_metric_is_read_somewhere(watched: Watched) -> None:
    assert watched.app.observing.exposition.known() == set(ALL)


async def test_calls_are_counted_by_method_and_status(watched: Watched) -> None:
    for _ in range(3):
        await watched.connection.rank("watch:1")
    await refusal(watched.connection.rank("watch:1", "nowhere"))

    found = await watched.metrics()

    name = "grpc_server_call_duration_seconds_count"
    assert found[name, RANK, "OK"] == 3
    assert found[name, RANK, "NOT_FOUND"] == 1
    assert found["opportune_calls_in_flight", RANK] == 0
    assert found["opportune_decisions_total", "ranked", "full"] == 3
    assert found["opportune_decision_stage_seconds_count", "model"] == 1


async def test_state_and_writing_are_told(watched: Watched) -> None:
    applied = await watched.connection.apply_deltas(delta("watch:2", visits=1), delta("watch:2", nothing=1))

    found = await watched.metrics()

    assert found["opportune_identifiers",] == found["opportune_profiles",] == 1
    assert found["opportune_deltas_total", "applied"] == found["opportune_deltas_total", "refused"] == 1
    assert found["opportune_journal_head",] == found["opportune_profile_version",] == applied.profile_version
    assert found["opportune_freshness_seconds_count",] == 1
    assert found["opportune_journal_commit_seconds_count",] >= 2
    assert found["opportune_catalog_version",] == 1
    assert found["opportune_data_bytes", "journal"] > 0
    assert found["opportune_disk_bytes",] > found["opportune_disk_free_bytes",] > 0
    assert found["process_resident_memory_bytes",] > 10_000_000
    assert found["opportune_model_circuit_state", "tiny/1"] == 0


async def test_open_streams_are_in_flight(watched: Watched) -> None:
    stream = DeltaStream(watched.connection, "watch")
    await stream.send(1, visit("watch:3"))
    await stream.until(1)
    during = await watched.metrics()
    await stream.call.done_writing()
    await stream.end()
    after = await watched.metrics()

    method = "opportune.v1.ProfileService/StreamProfileDeltas"
    assert (during["opportune_calls_in_flight", method], after["opportune_calls_in_flight", method]) == (1, 0)
    assert after["grpc_server_call_duration_seconds_count", method, "OK"] == 1


async def test_probes_tell_of_a_server_that_is_ready_until_it_stops(transport: str, models: Path) -> None:
    async with AsyncExitStack() as stack:
        settings = Settings(
            listen="127.0.0.1:0", transport=_known(transport), models=models, metrics_listen="127.0.0.1:0"
        )
        app = await start(settings, stack)
        port = app.observing.port or 0
        before = [await asyncio.to_thread(fetch, port, path) for path in ("/livez", "/readyz")]
        await app.close()
        after = [await asyncio.to_thread(fetch, port, path) for path in ("/livez", "/readyz")]

    assert before == [(200, "alive\n"), (200, "ready\n")]
    assert after == [(200, "alive\n"), (503, "not ready\n")]


async def test_sampled_call_is_a_trace_with_the_stages_of_its_decision(watched: Watched) -> None:
    request = decision_service_pb2.RankOffersRequest(customer_id="watch:4", placement_id="home")
    await watched.connection.decisions.RankOffers(request, timeout=TIMEOUT_S, metadata=SAMPLED)
    await watched.connection.rank("watch:4")

    async with asyncio.timeout(TIMEOUT_S):
        while not watched.sink.spans:
            await asyncio.sleep(0.01)

    root, *stages = watched.sink.spans
    assert root.name == RANK
    assert root.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert root.parent_span_id.hex() == "b7ad6b7169203331"
    assert [span.name for span in stages] == [
        "variables", "eligibility", "contacts", "worth", "model", "value", "arbitration",
    ]  # fmt: skip
    assert root.start_time_unix_nano <= stages[0].start_time_unix_nano
    assert stages[-1].end_time_unix_nano <= root.end_time_unix_nano


async def test_server_logs_json_with_request_ids(tmp_path: Path, shop_file: Path, models: Path) -> None:
    process = await begin(
        "serve", "--ephemeral", "--listen", "127.0.0.1:0", "--catalog", shop_file, "--models", models,
        "--log-format", "json", "--log-sample", "1",
    )  # fmt: skip
    assert process.stderr is not None
    text = ""
    async with asyncio.timeout(TIMEOUT_S):
        while (found := re.search(r"serving on 127\.0\.0\.1:(\d+)", text)) is None:
            text += (await process.stderr.readline()).decode()
    async with connected(int(found[1])) as connection:
        for placement_id in ("home", "nowhere"):
            request = decision_service_pb2.RankOffersRequest(customer_id="loyalty:1", placement_id=placement_id)
            call = connection.decisions.RankOffers(request, timeout=TIMEOUT_S, metadata=SAMPLED)
            await (call if placement_id == "home" else refusal(call))
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), TIMEOUT_S)

    lines = [json.loads(line) for line in (text + errors.decode()).splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert [(line["request_id"], line["code"]) for line in calls] == [("req-1", "OK"), ("req-1", "NOT_FOUND")]
    assert calls[0]["rung"] == "FULL"
    assert re.fullmatch("[0-9a-f]{16}", calls[0]["customer"])
    assert calls[1]["reason"] == "PLACEMENT_NOT_FOUND"


async def test_address_for_metrics_that_is_taken_stops_the_start(watched: Watched, models: Path) -> None:
    settings = Settings(listen="127.0.0.1:0", models=models, metrics_listen=f"127.0.0.1:{watched.app.observing.port}")

    async with AsyncExitStack() as stack:
        with pytest.raises(RuntimeError, match="cannot listen on"):
            await start(settings, stack)


async def test_server_that_is_still_starting_is_alive_and_not_ready() -> None:
    async with AsyncExitStack() as stack:
        observing = Observing(Settings(metrics_listen="127.0.0.1:0"))
        await observing.open(stack)
        answers = [await asyncio.to_thread(fetch, observing.port or 0, path) for path in ("/livez", "/readyz")]
        status, text = await asyncio.to_thread(fetch, observing.port or 0, "/metrics")

    assert [answer[0] for answer in answers] == [200, 503]
    assert status == 200
    assert "opportune_serving 0" in text


async def test_snapshots_are_told_by_age_and_duration(watched: Watched, tmp_path: Path) -> None:
    before = await watched.metrics()
    (tmp_path / "data" / "snapshots").mkdir(exist_ok=True)
    (tmp_path / "data" / "snapshots" / "left-over.tmp").write_bytes(b"half a snapshot")
    still = await watched.metrics()
    await watched.app._service.snapshotter.take()
    after = await watched.metrics()

    assert ("opportune_snapshot_age_seconds",) not in before
    assert ("opportune_snapshot_age_seconds",) not in still
    assert 0 <= after["opportune_snapshot_age_seconds",] < TIMEOUT_S
    assert 0 < after["opportune_snapshot_duration_seconds",] < TIMEOUT_S
    assert after["opportune_data_bytes", "snapshots"] > 0
