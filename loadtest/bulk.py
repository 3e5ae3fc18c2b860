"""Filling a server by LoadProfiles, in a process of its own: `python -m loadtest.bulk ADDRESS PROFILES`.

It prints a line of JSON at the end: seconds from the first batch's sending to the last acknowledgement, the version at
which everything can be read, and what the generator spent.
"""

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import uvloop
from opportune.v1.profile_service_pb2 import LoadProfilesRequest, LoadProfilesResponse

from loadtest import population
from loadtest.progress import say
from loadtest.schema import CUSTOMER

METHOD = "/opportune.v1.ProfileService/LoadProfiles"
CUSTOMERS_AT_ONCE = 1_024
OUTSTANDING = 3
SEED = 20_202
SAY_EVERY = 16
AGE = timedelta(days=1)
"""The values are of yesterday, so that every delta of today counts."""


def messages(profiles: int) -> Iterator[LoadProfilesRequest]:
    """All 64 attributes of every customer, a batch at a time: millions of rows would not fit in one matrix."""
    loaded_at = datetime.now(UTC) - AGE
    for sequence, start in enumerate(range(0, profiles, CUSTOMERS_AT_ONCE), 1):
        rows = range(start, min(start + CUSTOMERS_AT_ONCE, profiles))
        message = LoadProfilesRequest(sequence=sequence, customer_ids=map(population.customer_id, rows))
        message.event_time.FromDatetime(loaded_at)
        columns = batch(sequence, len(rows)).T.tolist()
        for attribute, values in zip(CUSTOMER, columns, strict=True):
            message.columns.add(name=attribute.id, values=values, texts=attribute.values)
        yield message


def batch(sequence: int, rows: int) -> population.Matrix:
    """The values of the customers of one message, which has so many."""
    return population.sample(CUSTOMER, rows, SEED + sequence)


async def load(address: str, profiles: int) -> dict[str, object]:
    """Sends all batches, a few ahead of their acknowledgements."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        call: Any = channel.stream_stream(
            METHOD, LoadProfilesRequest.SerializeToString, LoadProfilesResponse.FromString
        )()
        await call.write(LoadProfilesRequest(source="loadtest-bulk"))
        done = await call.read()
        started_s = time.monotonic()
        sent = 0
        for message in messages(profiles):
            await call.write(message)
            sent = message.sequence
            while sent - done.acknowledged_sequence >= OUTSTANDING:
                done = await _acknowledged(call, profiles)
        while done.acknowledged_sequence < sent:
            done = await _acknowledged(call, profiles)
        seconds = time.monotonic() - started_s
        await call.done_writing()
    return {
        "seconds": seconds,
        "messages": sent,
        "profile_version": done.profile_version,
        "generator_cpu_s": time.process_time(),
    }


async def _acknowledged(call: Any, profiles: int) -> LoadProfilesResponse:
    response = await call.read()
    if response is grpc.aio.EOF or response.HasField("closing"):
        raise RuntimeError("The server ended the load.")
    if response.acknowledged_sequence % SAY_EVERY == 0:
        say(f"{min(response.acknowledged_sequence * CUSTOMERS_AT_ONCE, profiles):,} profiles loaded")
    return response  # type: ignore[no-any-return]


async def main(address: str, profiles: int) -> None:
    """Loads, and says what it took."""
    print(json.dumps(await load(address, profiles)), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
