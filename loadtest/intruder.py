"""A caller who means harm, in a process of its own: `python -m loadtest.intruder ADDRESS KIND RATE`.

It writes a line when it is ready, goes on at its rate until standard input ends, and then writes as JSON how its calls
have ended. It steps back behind the server and the generator: what it costs by itself is nobody's fault.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from loadtest.credentials import TOKEN, bearer
from loadtest.delta_stream import METHOD as STREAM
from loadtest.transport import METHOD as RANK

OUTCOMES = "/opportune.v1.OutcomeService/ReportOutcomes"
PATIENCE_S = 10.0
NICE = 10
MIB = 1 << 20

_KNOWN = tuple(bearer(TOKEN))
_NOTHING = b"\x0a\x00" * (2 * MIB - 1)
_MANY = tuple((f"x-{number}", "1") for number in range(10_000))

Intrusion = Callable[[grpc.aio.Channel], Awaitable[object]]


async def _unknown(channel: grpc.aio.Channel) -> object:
    """A token that nobody has given out."""
    metadata = tuple(bearer("not-" + TOKEN))
    return await channel.unary_unary(RANK)(b"", timeout=PATIENCE_S, metadata=metadata)


async def _nothing(channel: grpc.aio.Channel) -> object:
    """4 MiB of empty outcomes: two million objects, if somebody made them."""
    return await channel.unary_unary(OUTCOMES)(_NOTHING, timeout=PATIENCE_S, metadata=_KNOWN)


async def _metadata(channel: grpc.aio.Channel) -> object:
    """10,000 entries of metadata."""
    return await channel.unary_unary(RANK)(b"", timeout=PATIENCE_S, metadata=_KNOWN + _MANY)


async def _silent(channel: grpc.aio.Channel) -> object:
    """A stream on which nothing is ever sent."""
    call: Any = channel.stream_stream(STREAM)(timeout=PATIENCE_S, metadata=_KNOWN)
    return await call.read()


KINDS: Mapping[str, Intrusion] = {
    "unknown tokens": _unknown,
    "empty elements": _nothing,
    "much metadata": _metadata,
    "silent streams": _silent,
}


async def intrude(address: str, kind: str, rate_rps: float) -> Counter[str]:
    """Calls at a rate until standard input ends; how the calls have ended, those that have not as `OPEN`."""
    ended: Counter[str] = Counter()
    options = [("grpc.max_metadata_size", 16 * MIB), ("grpc.max_send_message_length", -1)]
    over = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    calls: set[asyncio.Task[None]] = set()
    async with grpc.aio.insecure_channel(address, options=options) as channel:

        async def one() -> None:
            try:
                await KINDS[kind](channel)
                ended["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ended[error.code().name] += 1

        print("ready", flush=True)
        while not over.done():
            task = asyncio.create_task(one())
            calls.add(task)
            task.add_done_callback(calls.discard)
            await asyncio.wait({over}, timeout=1 / rate_rps)
        ended["OPEN"] = len(calls)
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return +ended


if __name__ == "__main__":
    os.nice(NICE)
    print(json.dumps(asyncio.run(intrude(sys.argv[1], sys.argv[2], float(sys.argv[3])))), flush=True)
