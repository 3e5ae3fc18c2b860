"""LoadProfiles over both transports, and `python -m server load`."""

import math
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pyarrow as pa
import pytest
from grpc import aio
from opportune.v1 import profile_service_pb2 as pb
from pyarrow import parquet

from server.loading import CUSTOMERS_AT_ONCE
from tests.integration.commands import run
from tests.integration.connection import TIMEOUT_S, Connection, delta, refusal, refusal_of, value
from tests.integration.delta_streams import at, load_request
from tests.integration.test_grpc_profiles import timestamp, values

NAN = float("nan")
MOMENT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


async def loaded(server: Connection, *requests: pb.LoadProfilesRequest) -> list[int]:
    """Sends messages one by one; what each acknowledgement said."""
    call = server.profiles.LoadProfiles(timeout=TIMEOUT_S)
    acknowledged = []
    for request in requests:
        await call.write(request)
        acknowledged.append((await call.read()).acknowledged_sequence)
    await call.done_writing()
    assert await call.read() is aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    return acknowledged


async def test_every_type_of_column_comes_back_as_deltas_would_have_set_it(market_server: Connection) -> None:
    microseconds = int(MOMENT.timestamp() * 1_000_000)
    request = load_request(
        "types",
        1,
        ["load:1", "load:2", "load:3"],
        visits=[1.5, NAN, 0.0],
        tier=pb.LoadColumn(values=[1, 0, NAN], texts=["gold", "silver"]),
        member=[1, 0, NAN],
        joined=[microseconds, NAN, NAN],
        topics=pb.LoadColumn(values=[0, 1, 1], texts=["topic-3", "topic-29"], lengths=[2, -1, 1]),
        **{"affinity.toys": [NAN, -2.5, NAN]},
    )
    same = [
        delta("set:1", visits=1.5, tier="silver", member=True, topics=["topic-3", "topic-29"]),
        delta("set:2", tier="gold", member=False, **{"affinity.toys": -2.5}),
        delta("set:3", visits=0.0, topics=["topic-29"]),
    ]
    same[0].attributes.set["joined"].CopyFrom(value(timestamp(MOMENT)))

    await loaded(market_server, request)
    await market_server.apply_deltas(*same)

    for number in (1, 2, 3):
        expected = values(await market_server.profile(f"set:{number}"))
        assert values(await market_server.profile(f"load:{number}")) == expected


async def test_load_is_resumed_where_it_ended_and_what_is_sent_again_changes_nothing(market_server: Connection) -> None:
    first = [load_request("resumed", n, [f"resumed:{n}"], visits=[n]) for n in (1, 2)]
    again = [load_request("resumed", 2, ["resumed:2"], visits=[99]), load_request("resumed", 3, ["r:3"], visits=[3])]

    begun = await loaded(market_server, load_request("resumed", 0), *first)
    resumed = await loaded(market_server, load_request("resumed", 0), *again)

    assert (begun, resumed) == ([0, 1, 2], [2, 2, 3])
    assert values(await market_server.profile("resumed:2"))["visits"] == 2.0


async def test_value_that_was_set_later_stays(market_server: Connection) -> None:
    await market_server.apply_deltas(at(delta("later:1", visits=7), 2_000), at(delta("later:2", visits=7), 500))
    request = load_request("later", 1, ["later:1", "later:2"], visits=[1, 1])
    request.event_time.seconds = 1_000

    await loaded(market_server, request)

    found = [values(await market_server.profile(f"later:{number}"))["visits"] for number in (1, 2)]
    assert found == [7.0, 1.0]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (load_request("bad", 2, ["bad:1"], vists=[1]), "columns[0]"),
        (load_request("bad", 2, ["bad:1"], visits=[1, 2]), "columns[0]"),
        (load_request("bad", 2, ["bad:1"], visits=[float("inf")]), "columns[0]"),
        (load_request("bad", 2, ["bad:1"], purchases=[1]), "columns[0]"),
        (load_request("bad", 2, ["bad 1"], visits=[1]), "customer_ids[0]"),
        (load_request("bad", 2, ["bad:1", "bad:1"], visits=[1, 2]), "customer_ids"),
        (load_request("bad", 0, ["bad:1"], visits=[1]), "sequence"),
        (load_request("worse", 2, ["bad:1"], visits=[1]), "source"),
    ],
    ids=["unknown", "too many", "infinite", "aggregate", "bad id", "twice", "no sequence", "changed source"],
)
async def test_batch_with_anything_wrong_ends_the_load_and_nothing_of_it_is_applied(
    market_server: Connection, request_: pb.LoadProfilesRequest, field: str
) -> None:
    call = market_server.profiles.LoadProfiles(timeout=TIMEOUT_S)
    await call.write(load_request("bad", 1, ["good:1"], visits=[1]))
    await call.write(request_)

    with pytest.raises(aio.AioRpcError) as refused:
        while True:
            await call.read()

    assert list(refusal_of(refused.value).violations) == [field]
    assert values(await market_server.profile("good:1"))["visits"] == 1.0
    assert (await refusal(market_server.profile("bad:1"))).reason == "PROFILE_NOT_FOUND"


# The command


def parquet_file(folder: Path, rows: int) -> Path:
    """A file of customers whose visits are their numbers."""
    table = pa.table({
        "customer_id": [f"{folder.name}:{number}" for number in range(rows)],
        "event_time": pa.array([MOMENT] * rows, pa.timestamp("us", "UTC")),
        "visits": pa.array(range(rows), pa.int64()),
        "tier": pa.array([["basic", "silver", "gold", None][number % 4] for number in range(rows)]).dictionary_encode(),
        "member": [[True, False, None][number % 3] for number in range(rows)],
        "joined": pa.array([MOMENT.date()] * rows, pa.date32()),
        "topics": pa.array([[["topic-1", "topic-2"], [], None][number % 3] for number in range(rows)]),
    })  # fmt: skip
    path = folder / "customers.parquet"
    parquet.write_table(table, path)
    return path


async def test_command_loads_a_file_and_says_how_far_it_is(market_server: Connection, tmp_path: Path) -> None:
    path = parquet_file(tmp_path, 10_000)

    done = await run("load", path, "--address", market_server.address)

    assert done.code == 0, done.errors
    assert "10,000 of 10,000 customers" in done.output
    found = values(await market_server.profile(f"{tmp_path.name}:9997"))
    assert found.pop("joined")
    assert {name: found[name] for name in ("visits", "tier", "member", "topics")} == {
        "visits": 9_997.0,
        "tier": "silver",
        "member": False,
        "topics": [],
    }
    missing = values(await market_server.profile(f"{tmp_path.name}:9995"))
    assert {"tier", "member", "topics"}.isdisjoint(missing)


async def test_command_that_is_repeated_goes_on_where_it_ended(market_server: Connection, tmp_path: Path) -> None:
    path = parquet_file(tmp_path, 5_000)
    first = await run("load", path, "--address", market_server.address, "--source", tmp_path.name)
    await market_server.apply_deltas(delta(f"{tmp_path.name}:1", tier="gold"))

    again = await run("load", path, "--address", market_server.address, "--source", tmp_path.name)

    assert (first.code, again.code) == (0, 0)
    asked = await market_server.apply_deltas(source=tmp_path.name)
    assert asked.acknowledged_sequence == math.ceil(5_000 / CUSTOMERS_AT_ONCE)
    assert values(await market_server.profile(f"{tmp_path.name}:1"))["tier"] == "gold"


async def test_command_names_what_the_server_refuses(market_server: Connection, tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    parquet.write_table(pa.table({"customer_id": ["a"], "shoe_size": [44]}), path)

    done = await run("load", path, "--address", market_server.address)

    assert done.code == 1
    assert "INVALID_ARGUMENT" in done.errors
    assert "columns[0]" in done.errors
    assert "Traceback" not in done.errors


async def test_command_names_a_file_without_customers(market_server: Connection, tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    parquet.write_table(pa.table({"visits": [44]}), path)

    done = await run("load", path, "--address", market_server.address)

    assert (done.code, "no column customer_id" in done.errors) == (1, True)
