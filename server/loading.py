"""`python -m server load FILE.parquet`: fills the profiles of a running server, with progress, and can be resumed."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc import aio
from numpy.typing import NDArray
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1 import profile_service_pb2_grpc

from server.wire.target import Target, target_of

CUSTOMERS_AT_ONCE = 1_024
"""Customers in a message: few enough that rankings beside a load stay quick."""

OUTSTANDING = 8
_LIMIT_BYTES = 15 * 1024 * 1024


async def load_file(path: Path, server: str | Target, source: str | None, tell: Callable[[str], None]) -> int:
    """Loads a Parquet file into a server; returns how many customers it has.

    The column `customer_id` is required, `event_time` is optional; the others are named like attributes. Loading a file
    again goes on where the last time ended.

    Raises:
        RuntimeError: pyarrow is missing, the file does not fit, or the server refuses it.
        OSError: the file cannot be read.
    """
    parquet = _parquet()
    with path.open("rb") as content:
        name = source or "load:" + hashlib.file_digest(content, "sha256").hexdigest()[:24] + f":{CUSTOMERS_AT_ONCE}"
    file = parquet.ParquetFile(path)
    total, started = file.metadata.num_rows, time.perf_counter()
    options = [("grpc.max_send_message_length", _LIMIT_BYTES * 2)]
    target = target_of(server)
    async with target.channel(options) as channel:
        stub: Any = profile_service_pb2_grpc.ProfileServiceStub(channel)  # type: ignore[no-untyped-call]
        call = stub.LoadProfiles(metadata=target.metadata)
        try:
            await call.write(pb.LoadProfilesRequest(source=name))
            first = await call.read()
            done = first.acknowledged_sequence if first is not aio.EOF else 0
            async for loaded in _send(call, _messages(file, done), done):
                tell(f"{min(loaded, total):,} of {total:,} customers ({time.perf_counter() - started:.1f} s)")
        except grpc.RpcError as error:
            raise RuntimeError(f"{path}: {error.code().name}: {error.details()}") from error
        except asyncio.InvalidStateError as error:
            # The call had ended before a batch could be written to it.
            raise RuntimeError(f"{path}: {(await call.code()).name}: {await call.details()}") from error
    return int(total)


async def _send(call: Any, messages: Iterator[pb.LoadProfilesRequest], done: int) -> AsyncIterator[int]:
    """Sends messages, a few ahead of the acknowledgements; yields how many customers are loaded."""
    acknowledged = sent = done
    for message in messages:
        await call.write(message)
        sent = message.sequence
        while sent - acknowledged >= OUTSTANDING:
            acknowledged = await _acknowledged(call)
            yield acknowledged * CUSTOMERS_AT_ONCE
    while acknowledged < sent:
        acknowledged = await _acknowledged(call)
        yield acknowledged * CUSTOMERS_AT_ONCE
    await call.done_writing()


async def _acknowledged(call: Any) -> int:
    response = await call.read()
    if response is aio.EOF:
        # Reading behind the end raises what ended the call.
        raise RuntimeError(f"the server ended the load: {await call.code()}: {await call.details()}")
    if response.HasField("closing"):
        raise RuntimeError(f"{response.closing.reason}; load the file again to go on")
    return int(response.acknowledged_sequence)


def _messages(file: Any, done: int) -> Iterator[pb.LoadProfilesRequest]:
    for sequence, batch in enumerate(file.iter_batches(CUSTOMERS_AT_ONCE), 1):
        if sequence > done:
            message = _message(batch)
            message.sequence = sequence
            if message.ByteSize() > _LIMIT_BYTES:
                raise RuntimeError(f"{CUSTOMERS_AT_ONCE:,} rows of the file take more than {_LIMIT_BYTES >> 20} MiB")
            yield message


def _message(batch: Any) -> pb.LoadProfilesRequest:
    names = batch.schema.names
    if "customer_id" not in names:
        raise RuntimeError("the file has no column customer_id")
    message = pb.LoadProfilesRequest(customer_ids=batch.column("customer_id").to_pylist())
    if "event_time" in names:
        message.event_times_us.extend(_microseconds(batch.column("event_time")).astype(np.int64).tolist())
    for name in names:
        if name not in ("customer_id", "event_time"):
            _fill(message.columns.add(name=name), batch.column(name))
    return message


def _fill(target: pb.LoadColumn, column: Any) -> None:
    """One column of the file as a column of the message."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _fill_texts(target, column.flatten())
        target.lengths.extend(-1 if length is None else length for length in column.value_lengths().to_pylist())
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        _fill_texts(target, column)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        target.values.extend(_microseconds(column).tolist())
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        target.values.extend(_numbers(column.cast(pa.float64())).tolist())
    else:
        raise RuntimeError(f"the column {target.name} has the type {kind}, which no attribute has")


def _fill_texts(target: pb.LoadColumn, column: Any) -> None:
    import pyarrow as pa

    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    target.texts.extend(encoded.dictionary.to_pylist())
    target.values.extend(_numbers(encoded.indices.cast(pa.float64())).tolist())


def _microseconds(column: Any) -> NDArray[np.float64]:
    import pyarrow as pa

    return _numbers(column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64()))


def _numbers(column: Any) -> NDArray[np.float64]:
    """A column of floats, NaN where there is none."""
    numbers: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return numbers


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise RuntimeError("reading Parquet needs pyarrow: install opportune[bulk]") from None
    return parquet
