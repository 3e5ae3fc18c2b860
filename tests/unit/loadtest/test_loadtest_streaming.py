"""What streams in, and how the generators send it."""

import asyncio
import os
from collections import deque
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from opportune.v1.decision_service_pb2 import RankOffersRequest
from opportune.v1.profile_service_pb2 import RejectedDelta, StreamProfileDeltasRequest, StreamProfileDeltasResponse

from loadtest import bulk
from loadtest.arguments import parser
from loadtest.delta_stream import ENDED, REJECTED, DeltaStream, sequenced
from loadtest.probe_offer import PROBE, probe_delta
from loadtest.procfs import resident_bytes, resident_bytes_max, written_bytes
from loadtest.stage import streaming
from loadtest.streaming import StreamingWorkload
from loadtest.tally import OK
from server.execution.compile import compile_text
from server.inference.model import load_models


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> StreamingWorkload:
    return streaming(tmp_path_factory.mktemp("streaming") / "workload", offers=50, profiles=500)


class FakeCall:
    """A stream whose server answers when the test says so."""

    def __init__(self) -> None:
        self.written: list[StreamProfileDeltasRequest] = []
        self._replies: asyncio.Queue[object] = asyncio.Queue()

    async def write(self, payload: bytes) -> None:
        self.written.append(StreamProfileDeltasRequest.FromString(payload))

    async def read(self) -> object:
        return await self._replies.get()

    def reply(self, **fields: Any) -> None:
        self._replies.put_nowait(StreamProfileDeltasResponse(**fields).SerializeToString())

    def end(self) -> None:
        self._replies.put_nowait(grpc.aio.EOF)

    def cancel(self) -> None:
        self.end()


class FakeChannel:
    def __init__(self, call: FakeCall) -> None:
        self._call = call

    def stream_stream(self, method: str) -> Any:
        return lambda timeout: self._call


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def publishing(stream: DeltaStream, count: int) -> "deque[asyncio.Task[Any]]":
    message = StreamProfileDeltasRequest(deltas=[probe_delta("c")]).SerializeToString()
    return deque(asyncio.create_task(stream.publish(message)) for _ in range(count))


async def test_stream_goes_on_where_the_source_left_off_and_keeps_to_the_servers_limit() -> None:
    call = FakeCall()
    stream = DeltaStream(FakeChannel(call), "source")
    call.reply(acknowledged_sequence=7, max_outstanding=2)
    tasks = publishing(stream, 5)
    await turns()

    assert call.written[0] == StreamProfileDeltasRequest(source="source")
    assert [message.sequence for message in call.written[1:]] == [8, 9]
    call.reply(acknowledged_sequence=9, profile_version=3)
    await turns()
    assert [message.sequence for message in call.written[1:]] == [8, 9, 10, 11]
    assert [tasks[place].result() for place in (0, 1)] == [(OK, 3), (OK, 3)]
    assert all(len(message.deltas) == 1 for message in call.written[1:])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await stream.close()


async def test_refused_delta_and_ended_stream_are_told_to_their_senders() -> None:
    call = FakeCall()
    stream = DeltaStream(FakeChannel(call), "source")
    call.reply(max_outstanding=8)
    tasks = publishing(stream, 3)
    await turns()

    call.reply(acknowledged_sequence=2, profile_version=1, rejected=[RejectedDelta(sequence=2)])
    call.end()
    await turns()

    assert [task.result().status for task in tasks] == [OK, REJECTED, ENDED]
    assert (await stream.publish(b"")).status == ENDED
    await stream.close()


def test_sequence_behind_a_message_is_a_part_of_it() -> None:
    message = StreamProfileDeltasRequest(deltas=[probe_delta("c")])

    parsed = StreamProfileDeltasRequest.FromString(message.SerializeToString() + sequenced(300))

    assert (parsed.sequence, len(parsed.deltas)) == (300, 1)


def test_one_delta_in_ten_is_a_purchase_and_the_others_set_two_numbers(workload: StreamingWorkload) -> None:
    messages = [StreamProfileDeltasRequest.FromString(each) for each in workload.messages(1_000, 100)]
    deltas = [delta for message in messages for delta in message.deltas]
    purchases = [delta for delta in deltas if delta.HasField("event")]

    assert [len(message.deltas) for message in messages] == [100] * 10
    assert len(purchases) == 100
    assert all(len(delta.attributes.set) == 2 for delta in deltas if delta not in purchases)
    assert all(delta.event.properties["amount"].number_value >= 0 for delta in purchases)
    assert len({delta.customer_id for delta in deltas}) > 300
    assert len({delta.event_time.ToMicroseconds() for delta in deltas}) == 1


def test_probes_are_of_different_customers_in_both_halves(workload: StreamingWorkload) -> None:
    halves = [
        {RankOffersRequest.FromString(probe).customer_id for probe in workload.probes(200, half)} for half in (0, 1)
    ]

    assert [len(half) for half in halves] == [200, 200]
    assert halves[0].isdisjoint(halves[1])


def test_server_takes_the_catalog_with_aggregates_and_probe(workload: StreamingWorkload) -> None:
    models = {model_id: model.manifest for model_id, model in load_models(workload.models).items()}

    compiled, problems = compile_text(workload.catalog.read_text(), models)

    assert problems == []
    assert compiled is not None
    assert len(compiled.offers) == 51
    assert compiled.offers.offers[-1].id == PROBE


def test_bulk_load_has_every_customer_once_with_64_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "CUSTOMERS_AT_ONCE", 64)

    messages = list(bulk.messages(150))

    assert [message.sequence for message in messages] == [1, 2, 3]
    assert [len(message.customer_ids) for message in messages] == [64, 64, 22]
    assert len({customer for message in messages for customer in message.customer_ids}) == 150
    assert {len(message.columns) for message in messages} == {64}
    assert list(messages[2].columns[0].values) == bulk.batch(3, 22)[:, 0].tolist()


def test_memory_and_writes_of_a_process_are_what_the_kernel_counts(tmp_path: Path) -> None:
    held, written = resident_bytes(os.getpid()), written_bytes(os.getpid())

    assert 10**6 < held <= resident_bytes_max(os.getpid())
    assert written >= 0


def test_every_scenario_takes_what_it_needs() -> None:
    chosen = parser(None).parse_args(["mixed", "--rate", "50", "--seconds", "2"])
    memory = parser(None).parse_args(["memory", "--profiles", "10000000"])

    assert (chosen.rate_rps, chosen.seconds, chosen.profiles) == (50, 2.0, 100_000)
    assert memory.profiles == 10_000_000
