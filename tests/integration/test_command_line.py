"""The command line as a process of its own: what it prints, how it ends, what it refuses."""

import asyncio
import json
import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.catalogs import shop, stall, text_of
from tests.integration.commands import run, serving
from tests.integration.connection import TIMEOUT_S, connected, delta
from tests.integration.processes import children_of
from tests.integration.tiny_model import write_model


@pytest.fixture(scope="module", params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_serve_says_what_it_serves_answers_and_ends_with_0_within_5_s_of_sigterm(
    transport: str, models: Path, shop_file: Path
) -> None:
    flags = ("--transport", transport, "--models", models, "--catalog", shop_file)
    async with serving(*flags) as server, connected(server.port) as connection:
        decision = await connection.rank("process:1")
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(server.process.wait(), 5)

    assert "catalog version 1" in server.line
    assert "fragile/1, tiny/1" in server.line
    assert [offer.offer_id for offer in decision.offers] == ["welcome", "small"]
    assert code == 0


async def test_serve_ends_after_sigterm_while_somebody_watches_its_health(transport: str) -> None:
    async with serving("--transport", transport) as server, connected(server.port) as connection:
        stub = health_pb2_grpc.HealthStub(connection.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        await watch.read()

        server.process.send_signal(signal.SIGTERM)
        seen = (await watch.read()).status
        code = await asyncio.wait_for(server.process.wait(), TIMEOUT_S)

    assert seen == health_pb2.HealthCheckResponse.NOT_SERVING
    assert code == 0


async def test_apply_publishes_to_a_running_server_and_says_what_is_wrong(transport: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(text_of(stall("applied")), encoding="utf-8")
    broken = stall()
    broken["offers"][0]["eligible"] = "customer.vists > 1.0"
    broken["placements"][0]["slots"] = 0
    bad.write_text(text_of(broken), encoding="utf-8")

    async with serving("--transport", transport) as server, connected(server.port) as connection:
        published = await run("apply", good, "--address", connection.address)
        refused = await run("apply", bad, "--address", connection.address)
        decision = await connection.rank("process:apply")

    assert published.code == 0, published.errors
    assert refused.code == 1
    assert "offers[0].eligible" in refused.errors
    assert "placements[0].slots" in refused.errors
    assert [offer.offer_id for offer in decision.offers] == ["applied"]


async def test_apply_with_validate_only_lists_the_problems_and_exits_with_1(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(text_of({**stall(), "currency": "dollars"}), encoding="utf-8")

    async with serving() as server:
        checked = await run("apply", bad, "--validate-only", "--address", f"127.0.0.1:{server.port}")

    assert "currency" in checked.output + checked.errors
    assert checked.code == 1


async def test_apply_says_which_version_it_published(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_text(text_of(stall()), encoding="utf-8")

    async with serving() as server:
        published = await run("apply", good, "--address", f"127.0.0.1:{server.port}")

    assert "is now catalog version 1: 1 offers" in published.output


async def test_audience_is_counted_by_a_running_server(tmp_path: Path, models: Path, shop_file: Path) -> None:
    data = tmp_path / "data"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as server,
        connected(server.port) as connection,
    ):
        await connection.apply_deltas(delta("a", visits=3), delta("b", visits=1), delta("c", tier="gold"))
        address = ("--to", connection.address)

        counted = await run("audience", "customer.visits > 1.0", *address)
        as_json = await run("audience", "customer.visits > 1.0", "--json", *address)
        refused = await run("audience", "customer.vists > 1.0", *address)
        beside = await run("audience", "true", "--data", data)
    nobody = await run("audience", "true", "--to", "127.0.0.1:1")
    stopped = await run("audience", "customer.visits >= 1.0", "--data", data)

    assert (counted.code, counted.errors) == (0, "")
    assert counted.output.startswith("1 of 3 customers (33.33%), ")
    assert json.loads(as_json.output)["count"] == 1
    assert (refused.code, nobody.code) == (1, 1)
    assert refused.errors.splitlines() == [
        "condition: 1:1: unknown attribute customer.vists; did you mean customer.visits?"
    ]
    assert beside.output.startswith("3 of 3 customers"), beside.errors
    assert "UNAVAILABLE" in nobody.errors
    assert stopped.output.startswith("2 of 3 customers"), stopped.errors
    assert "Traceback" not in refused.errors + nobody.errors


async def test_killed_server_leaves_no_process_behind(tmp_path: Path) -> None:
    async with serving() as server, connected(server.port) as connection:
        await connection.apply_catalog(stall())
        children = children_of(server.process.pid)
        try:
            server.process.kill()

            async with asyncio.timeout(3):
                for child in children:
                    await _ended(child)
        finally:
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


async def test_apply_to_nobody_exits_with_1_and_names_the_trouble(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(text_of(stall()), encoding="utf-8")

    # Port 1 belongs to nobody.
    outcome = await run("apply", path, "--address", "127.0.0.1:1")

    assert outcome.code == 1
    assert "UNAVAILABLE" in outcome.errors
    assert "Traceback" not in outcome.errors


async def test_tampered_model_is_refused_by_name_before_the_port_opens(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "tiny", "1")
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-20] ^= 1
    model.write_bytes(content)

    outcome = await run("serve", "--ephemeral", "--models", tmp_path, "--listen", "127.0.0.1:0")

    assert outcome.code == 1
    assert "tiny/1" in outcome.errors
    assert "sha256" in outcome.errors
    assert "serving on" not in outcome.errors
    assert "Traceback" not in outcome.errors


async def test_bad_settings_are_all_reported_at_once_and_before_the_port_opens(tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('listen = "nonsense"\ncolour = "red"\n', encoding="utf-8")

    outcome = await run(
        "serve", "--config", config, "--models", tmp_path / "no-folder",
        environment={"OPPORTUNE_TRANSPORT": "pigeon", "OPPORTUNE_CATALOG": str(tmp_path / "no-file")},
    )  # fmt: skip

    assert outcome.code == 1
    for name in ("listen", "transport", "models", "catalog", "colour"):
        assert re.search(rf"^{name}: ", outcome.errors, re.MULTILINE), name
    assert "serving on" not in outcome.errors


async def test_bad_catalog_keeps_the_server_from_starting_and_every_problem_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(text_of(_bad_catalog()), encoding="utf-8")

    outcome = await run("serve", "--ephemeral", "--catalog", path, "--listen", "127.0.0.1:0")

    assert outcome.code == 1
    assert "offers[1].eligible: 1:1" in outcome.errors
    assert "placements[0].model" in outcome.errors
    assert "serving on" not in outcome.errors


async def test_check_lists_every_problem_of_a_catalog_and_exits_with_1(tmp_path: Path, models: Path) -> None:
    path = tmp_path / "catalog.json"
    path.write_text(text_of(_bad_catalog()), encoding="utf-8")

    outcome = await run("check", path, "--models", models)

    assert outcome.code == 1
    paths = [line.partition(":")[0] for line in outcome.output.splitlines()]
    assert sorted(paths) == sorted(["offers[1].eligible", "offers[2].value.margin", "placements[0].model"])
    assert "3 problems" in outcome.errors


async def test_check_of_a_good_catalog_exits_with_0(shop_file: Path, models: Path) -> None:
    outcome = await run("check", shop_file, "--models", models)

    assert outcome.code == 0
    assert "7 offers, 5 placements" in outcome.output


async def test_port_that_is_taken_makes_the_second_server_exit_with_1(transport: str, shop_file: Path) -> None:
    async with serving("--transport", transport) as first:
        second = await run("serve", "--ephemeral", "--transport", transport, "--listen", f"127.0.0.1:{first.port}")

    assert second.code == 1
    assert str(first.port) in second.errors
    assert "Traceback" not in second.errors


async def _ended(process: int) -> None:
    """Waits until a process that may be anybody's child has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def _bad_catalog() -> dict[str, object]:
    catalog = json.loads(text_of(shop()))
    catalog["offers"][1]["eligible"] = "customer.teir == 1.0"
    catalog["offers"][2]["value"]["margin"] = 2
    catalog["placements"] = [{"id": "home", "channel": "web", "slots": 1, "model": "tiny/9"}]
    return dict(catalog)
