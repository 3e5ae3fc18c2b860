"""`python -m server load`: what it makes of a file, how it resumes, and what it says when it is refused."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1 import profile_service_pb2_grpc

from server.loading import load_file

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

MOMENT = datetime(2026, 5, 6, tzinfo=UTC)
MOMENT_US = int(MOMENT.timestamp() * 1_000_000)

Script = Callable[[Any, pb.LoadProfilesRequest], Awaitable[bool]]
"""What a server does with a message; whether it takes more."""


class FakeLoads(profile_service_pb2_grpc.ProfileServiceServicer):
    """Keeps the messages of loads.

    Attributes:
        outstanding: The most messages that were received and not acknowledged.
    """

    def __init__(self, watermark: int = 0, script: Script | None = None) -> None:
        self.watermark = watermark
        self.script = script
        self.sources: list[str] = []
        self.received: list[pb.LoadProfilesRequest] = []
        self.outstanding = 0

    async def LoadProfiles(self, _: Any, context: Any) -> None:  # noqa: N802  # gRPC's name
        """Answers the question, and acknowledges every third message, and the last one."""
        question = await context.read()
        self.sources.append(question.source)
        assert (question.sequence, len(question.customer_ids)) == (0, 0)
        await context.write(pb.LoadProfilesResponse(acknowledged_sequence=self.watermark))
        while (message := await context.read()) is not aio.EOF:
            if self.script is not None and not await self.script(context, message):
                return
            self.received.append(message)
            self.outstanding = max(self.outstanding, message.sequence - self.watermark)
            self.watermark = message.sequence
            await context.write(pb.LoadProfilesResponse(acknowledged_sequence=self.watermark))


@asynccontextmanager
async def serving(service: FakeLoads) -> AsyncIterator[str]:
    server = aio.server(options=[("grpc.max_receive_message_length", 64 * 1024 * 1024)])
    profile_service_pb2_grpc.add_ProfileServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def file_of(folder: Path, **columns: Any) -> Path:
    path = folder / "file.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


async def loaded(path: Path, service: FakeLoads, source: str | None = None) -> list[str]:
    """Loads a file; what was told."""
    told: list[str] = []
    async with serving(service) as address:
        await load_file(path, address, source, told.append)
    return told


def column(message: pb.LoadProfilesRequest, name: str) -> pb.LoadColumn:
    (found,) = [column for column in message.columns if column.name == name]
    return found


def plain(values: Any) -> list[float | None]:
    return [None if isnan(value) else value for value in values]


async def test_file_is_sent_in_batches_in_its_order(tmp_path: Path) -> None:
    path = file_of(tmp_path, customer_id=[f"c{n}" for n in range(2_500)], visits=list(range(2_500)))
    service = FakeLoads()

    told = await loaded(path, service, "crm")

    assert service.sources == ["crm"]
    assert [message.sequence for message in service.received] == [1, 2, 3]
    assert [len(message.customer_ids) for message in service.received] == [1024, 1024, 452]
    assert service.received[2].customer_ids[-1] == "c2499"
    assert column(service.received[2], "visits").values[-1] == 2_499.0
    assert told[-1].startswith("2,500 of 2,500 customers (")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([1.5, None, 2.0]), [1.5, None, 2.0]),
        (pa.array([1, None, 2], pa.int32()), [1.0, None, 2.0]),
        (pa.array([True, None, False]), [1.0, None, 0.0]),
        (pa.array([MOMENT, None, MOMENT], pa.timestamp("ms", "UTC")), [MOMENT_US, None, MOMENT_US]),
        (pa.array([MOMENT.date(), None, MOMENT.date()], pa.date32()), [MOMENT_US, None, MOMENT_US]),
    ],
    ids=["float", "integer", "boolean", "timestamp", "date"],
)
async def test_numbers_and_times_have_nan_where_there_is_none(
    tmp_path: Path, values: Any, expected: list[float | None]
) -> None:
    service = FakeLoads()

    await loaded(file_of(tmp_path, customer_id=["a", "b", "c"], it=values), service)

    assert plain(column(service.received[0], "it").values) == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
async def test_categories_are_places_in_their_texts(tmp_path: Path, kind: Any) -> None:
    service = FakeLoads()
    values = pa.array(["gold", None, "basic", "gold"]).cast(kind)

    await loaded(file_of(tmp_path, customer_id=list("abcd"), tier=values), service)

    tier = column(service.received[0], "tier")
    assert [None if isnan(place) else tier.texts[int(place)] for place in tier.values] == [
        "gold",
        None,
        "basic",
        "gold",
    ]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.string())], ids=["list", "large list"])
async def test_sets_are_members_one_after_the_other_with_lengths(tmp_path: Path, kind: Any) -> None:
    service = FakeLoads()
    values = pa.array([["x", "y"], None, [], ["y"]], kind)

    await loaded(file_of(tmp_path, customer_id=list("abcd"), tags=values), service)

    tags = column(service.received[0], "tags")
    assert list(tags.lengths) == [2, -1, 0, 1]
    assert [tags.texts[int(place)] for place in tags.values] == ["x", "y", "y"]


async def test_column_of_event_times_is_no_attribute(tmp_path: Path) -> None:
    service = FakeLoads()
    path = file_of(tmp_path, customer_id=["a"], event_time=pa.array([MOMENT], pa.timestamp("us")), visits=[1.0])

    await loaded(path, service)

    assert list(service.received[0].event_times_us) == [MOMENT_US]
    assert [each.name for each in service.received[0].columns] == ["visits"]


async def test_load_goes_on_behind_what_the_server_has(tmp_path: Path) -> None:
    path = file_of(tmp_path, customer_id=[f"c{n}" for n in range(2_500)])
    service = FakeLoads(watermark=2)

    told = await loaded(path, service)

    assert [(message.sequence, message.customer_ids[0]) for message in service.received] == [(3, "c2048")]
    assert len(told) == 1


async def test_load_that_was_complete_sends_nothing(tmp_path: Path) -> None:
    service = FakeLoads(watermark=1)

    told = await loaded(file_of(tmp_path, customer_id=["a"]), service)

    assert (service.received, told) == ([], [])


async def test_name_of_a_load_comes_from_the_content_of_its_file(tmp_path: Path) -> None:
    service = FakeLoads()
    for customer_ids in (["a"], ["b"], ["a"]):
        service.watermark = 0
        await loaded(file_of(tmp_path, customer_id=customer_ids), service)

    first, second, third = service.sources
    assert first == third != second
    assert first.startswith("load:")


async def test_no_more_than_three_batches_are_on_their_way(tmp_path: Path) -> None:
    waiting: list[pb.LoadProfilesRequest] = []
    most = 0

    async def hold_back(context: Any, message: pb.LoadProfilesRequest) -> bool:
        nonlocal most
        waiting.append(message)
        most = max(most, len(waiting))
        # Acknowledges when three are there, or at the end of eight.
        if len(waiting) == 3 or message.sequence == 8:
            await context.write(pb.LoadProfilesResponse(acknowledged_sequence=message.sequence))
            waiting.clear()
        return True

    service = FakeLoads(script=hold_back)
    service.LoadProfiles = _only(service)  # type: ignore[method-assign]

    await loaded(file_of(tmp_path, customer_id=[f"c{n}" for n in range(8 * 1024)]), service)

    assert most == 3


def _only(service: FakeLoads) -> Any:
    """A call in which the script does everything."""

    async def call(_: Any, context: Any) -> None:
        await context.read()
        await context.write(pb.LoadProfilesResponse())
        while (message := await context.read()) is not aio.EOF:
            assert service.script is not None
            await service.script(context, message)

    return call


async def test_closing_server_is_told_with_how_to_go_on(tmp_path: Path) -> None:
    async def close(context: Any, message: pb.LoadProfilesRequest) -> bool:
        await context.write(pb.LoadProfilesResponse(closing=pb.Closing(reason="the server is stopping")))
        return False

    with pytest.raises(RuntimeError, match="the server is stopping; load the file again to go on"):
        await loaded(file_of(tmp_path, customer_id=["a"]), FakeLoads(script=close))


async def test_refusal_of_the_last_batch_is_told_with_file_code_and_reason(tmp_path: Path) -> None:
    async def refuse(context: Any, message: pb.LoadProfilesRequest) -> bool:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "columns[0]: is not an attribute")
        return False

    with pytest.raises(RuntimeError, match=r"file\.parquet: INVALID_ARGUMENT: columns\[0\]: is not an attribute"):
        await loaded(file_of(tmp_path, customer_id=["a"]), FakeLoads(script=refuse))


async def test_refusal_that_arrives_before_a_batch_is_written_is_told_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    stub = profile_service_pb2_grpc.ProfileServiceStub

    def remembering(channel: Any) -> Any:
        made = stub(channel)  # type: ignore[no-untyped-call]
        inner = made.LoadProfiles

        def load(*arguments: Any, **keywords: Any) -> Any:
            calls.append(_Slow(inner(*arguments, **keywords)))
            return calls[-1]

        made.LoadProfiles = load
        return made

    async def refuse(context: Any, message: pb.LoadProfilesRequest) -> bool:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "columns[0]: is not an attribute")
        return False

    monkeypatch.setattr(profile_service_pb2_grpc, "ProfileServiceStub", remembering)
    path = file_of(tmp_path, customer_id=[f"c{n}" for n in range(10_000)])

    with pytest.raises(RuntimeError, match=r"INVALID_ARGUMENT: columns\[0\]: is not an attribute"):
        await loaded(path, FakeLoads(script=refuse))


class _Slow:
    """A call whose second batch is written when the server has refused the first one."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    async def write(self, message: pb.LoadProfilesRequest) -> None:
        if message.sequence == 2:
            await self._call.wait_for_connection()
            await self._call.code()
        await self._call.write(message)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"visits": [1.0]}, "has no column customer_id"),
        ({"customer_id": ["a"], "blob": pa.array([b"x"])}, "the column blob has the type binary"),
    ],
)
async def test_file_that_does_not_fit_is_refused_with_the_column(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        await loaded(file_of(tmp_path, **columns), FakeLoads())


async def test_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await load_file(tmp_path / "none.parquet", "127.0.0.1:1", None, print)


async def test_server_that_is_not_there_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"file\.parquet: UNAVAILABLE"):
        await load_file(file_of(tmp_path, customer_id=["a"]), "127.0.0.1:1", None, print)
