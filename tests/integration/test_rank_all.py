"""`python -m server rank-all` beside a server that uses the data folder: its answers, its refusals, what it leaves."""

import asyncio
import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from pyarrow import parquet

from tests.integration.catalogs import shop, text_of
from tests.integration.commands import begin, run, serving
from tests.integration.connection import Connection, connected, context, delta

TIME = datetime(2026, 11, 23, 9, tzinfo=UTC)
AT = ("--time", TIME.isoformat())
Answer = list[tuple[str, str, float, float, float]]


def rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return found


def answers(path: Path) -> dict[str, Answer]:
    """The offers of each customer, slot by slot."""
    found: dict[str, Answer] = {}
    for row in rows(path):
        offers = found.setdefault(row["customer_id"], [])
        assert row["slot"] == len(offers)
        offers.append(tuple(row[name] for name in ("offer_id", "creative_id", "propensity", "value", "expected_value")))
    return found


async def told(server: Connection, customer_id: str, placement_id: str, channel: str = "", **moment: Any) -> Answer:
    """What the server answers at the same time, without taking note of it."""
    at = Timestamp()
    at.FromDatetime(TIME)
    asked = context(**moment)
    asked.time.CopyFrom(at)
    asked.channel = channel
    decision = await server.rank(customer_id, placement_id, context=asked, validate_only=True)
    return [(o.offer_id, o.creative_id, o.propensity, o.value, o.expected_value) for o in decision.offers]


async def fill(server: Connection, customers: int = 30) -> None:
    """Customers of several kinds, two of them joined to another identifier."""
    tiers = ("basic", "silver", "gold")
    await server.apply_deltas(
        *(delta(f"c:{number:02}", visits=float(number % 7), tier=tiers[number % 3]) for number in range(customers))
    )


async def test_answers_are_those_of_the_server_that_uses_the_folder(
    tmp_path: Path, models: Path, shop_file: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "home.parquet"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server)
        ranked = await run("rank-all", "--data", data, "--models", models, "--placement", "home", "--out", out, *AT)
        expected = {f"c:{number:02}": await told(server, f"c:{number:02}", "home") for number in range(30)}
        # Reading has not kept the server from writing.
        applied = await server.apply_deltas(delta("c:99", visits=1.0))

    assert ranked.code == 0, ranked.errors
    assert ranked.errors.splitlines()[-1].startswith("30 of 30 customers, ")
    assert answers(out) == {name: answer for name, answer in expected.items() if answer}
    assert len(answers(out)) == 30
    assert applied.profile_version > 0
    metadata = parquet.read_schema(out).metadata
    assert metadata[b"opportune.catalog_version"] == b"1"
    assert metadata[b"opportune.profile_version"] == b"2"
    assert metadata[b"opportune.placement"] == b"home"
    assert metadata[b"opportune.model"] == b"tiny/1"
    assert metadata[b"opportune.time"] == b"2026-11-23T09:00:00+00:00"
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


async def test_audience_channel_and_max_offers_are_obeyed_also_without_a_server(
    tmp_path: Path, models: Path, shop_file: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "gold.parquet"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server)
        expected = await told(server, "c:05", "home", "email")
    journal = (data / "journal.db").read_bytes()

    flags = ("--placement", "home", "--channel", "email", "--max-offers", "1", "--out", out, *AT)
    ranked = await run("rank-all", "--data", data, "--models", models, "--audience", 'customer.tier == "gold"', *flags)

    assert ranked.code == 0, ranked.errors
    found = answers(out)
    assert sorted(found) == [f"c:{number:02}" for number in range(30) if number % 3 == 2]
    assert found["c:05"] == expected[:1]
    assert (data / "journal.db").read_bytes() == journal
    assert "in audience          10\n" in ranked.output


async def test_customers_for_whom_the_model_fails_get_the_fallback_and_it_is_said(
    tmp_path: Path, models: Path, shop_file: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "fragile.parquet"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server, 3)
        ranked = await run("rank-all", "--data", data, "--models", models, "--placement", "fragile", "--out", out, *AT)
        expected = await told(server, "c:01", "fragile")

    assert ranked.code == 0, ranked.errors
    assert {row["rung"] for row in rows(out)} == {"DEFAULT"}
    assert answers(out)["c:01"] == expected
    assert "model failed for     3\n" in ranked.output


async def test_context_is_that_of_every_request_of_the_batch(tmp_path: Path, models: Path, shop_file: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "evening.parquet"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server, 3)
        moment = ("--context", "hour=20", "--context", "daypart=evening", "--context", "holiday=true")
        flags = ("--placement", "fragile", "--max-offers", "9", "--out", out, *moment, *AT)
        ranked = await run("rank-all", "--data", data, "--models", models, *flags)
        wrong = await run("rank-all", "--data", data, "--models", models, *flags, "--force", "--context", "hour=late")
        expected = await told(server, "c:01", "fragile", hour=20.0, daypart="evening", holiday=True)

    assert ranked.code == 0, ranked.errors
    assert {row["rung"] for row in rows(out)} == {"FULL"}
    assert answers(out)["c:01"] == expected
    assert "evening" in [offer[0] for offer in expected]
    assert wrong.code == 1
    assert 'context.attributes["hour"]' in wrong.errors


async def test_another_catalog_can_be_tried_without_publishing_it(
    tmp_path: Path, models: Path, shop_file: Path
) -> None:
    data, out, other = tmp_path / "data", tmp_path / "other.parquet", tmp_path / "other.json"
    document = shop()
    document["offers"][0]["value"]["revenue"] = 1_000.0
    document["attributes"].reverse()
    other.write_text(text_of(document), encoding="utf-8")
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server, 3)
        flags = ("--models", models, "--catalog", other, "--placement", "newsletter", "--out", out)
        ranked = await run("rank-all", "--data", data, *flags)
        after = await told(server, "c:01", "newsletter")

    assert ranked.code == 0, ranked.errors
    assert answers(out)["c:01"][0][0::3] == ("welcome", 500.0)
    assert after[0][3] != 500.0
    assert parquet.read_schema(out).metadata[b"opportune.catalog_version"] == b"2"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def folder(tmp_path_factory: pytest.TempPathFactory, models: Path, shop_file: Path) -> Path:
    """A data folder that nobody uses, with three customers."""
    data = tmp_path_factory.mktemp("folder") / "data"
    async with (
        serving("--models", models, "--catalog", shop_file, data=data) as serve,
        connected(serve.port) as server,
    ):
        await fill(server, 3)
    return data


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--placement", "nowhere"), "there is no placement nowhere in catalog version 1"),
        (
            ("--placement", "home", "--audience", "customer.vists > 1"),
            "unknown attribute customer.vists; did you mean customer.visits?",
        ),
        (("--placement", "home", "--audience", "context.hour > 1"), "an audience is asked of customers alone"),
        (("--placement", "home", "--channel", "fax"), "placement home has web, email"),
        (("--placement", "home", "--max-offers", "-1"), "must not be negative"),
    ],
)
async def test_what_does_not_fit_the_catalog_is_refused_and_nothing_is_written(
    folder: Path, models: Path, tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    ranked = await run("rank-all", "--data", folder, "--models", models, "--out", tmp_path / "out.parquet", *flags)

    assert ranked.code == 1
    assert said in ranked.errors
    assert "Traceback" not in ranked.errors
    assert list(tmp_path.iterdir()) == []


async def test_missing_models_are_named(folder: Path, tmp_path: Path) -> None:
    ranked = await run("rank-all", "--data", folder, "--placement", "home", "--out", tmp_path / "out.parquet")

    assert ranked.code == 1
    assert "no model tiny/1 is loaded" in ranked.errors


async def test_missing_folder_and_missing_journal_are_named(tmp_path: Path) -> None:
    flags = ("--placement", "home", "--out", tmp_path / "out.parquet")

    nowhere = await run("rank-all", "--data", tmp_path / "nowhere", *flags)
    empty = await run("rank-all", "--data", tmp_path, *flags)
    unnamed = await run("rank-all", *flags)

    assert (nowhere.code, empty.code, unnamed.code) == (1, 1, 1)
    assert f"there is no folder {tmp_path / 'nowhere'}" in nowhere.errors
    assert f"there is no journal {tmp_path / 'journal.db'}" in empty.errors
    assert "--data" in unnamed.errors
    assert list(tmp_path.iterdir()) == []


async def test_existing_file_is_kept_unless_forced(folder: Path, models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"precious")
    flags = ("--data", folder, "--models", models, "--placement", "home", "--out", out)

    refused = await run("rank-all", *flags)
    kept = out.read_bytes()
    forced = await run("rank-all", *flags, "--force")

    assert (refused.code, kept) == (1, b"precious")
    assert "--force replaces it" in refused.errors
    assert forced.code == 0, forced.errors
    assert len(answers(out)) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted_command_leaves_no_file(
    folder: Path, models: Path, tmp_path: Path, number: signal.Signals
) -> None:
    # Reading a catalog from a named pipe waits for somebody to write it.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    flags = ("--models", models, "--catalog", pipe, "--placement", "home", "--out", tmp_path / "out.parquet")
    process = await begin("rank-all", "--data", folder, *flags)
    with await asyncio.to_thread(pipe.open, "w"):
        process.send_signal(number)
        _, errors = await process.communicate()

    assert process.returncode == 130
    assert b"has not been written" in errors
    assert b"Traceback" not in errors
    assert list(tmp_path.iterdir()) == [pipe]
