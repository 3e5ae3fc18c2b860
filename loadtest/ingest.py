"""Giving a server its profiles, several messages at a time."""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
from opportune.v1.profile_service_pb2 import ApplyProfileDeltasRequest, ApplyProfileDeltasResponse

from loadtest.credentials import Metadata
from loadtest.progress import say

METHOD = "/opportune.v1.ProfileService/ApplyProfileDeltas"
IN_FLIGHT = 4
DEADLINE_S = 60.0
SAY_EVERY = 20_000


class RejectedError(Exception):
    """The server refused a delta of the workload, which means that the two disagree about the schema."""


def load_profiles(address: str, messages: Iterator[ApplyProfileDeltasRequest], metadata: Metadata = ()) -> int:
    """Applies all deltas and returns how many; every one of them must be accepted."""
    loaded = said = 0
    with grpc.insecure_channel(address) as channel:
        apply = channel.unary_unary(
            METHOD, ApplyProfileDeltasRequest.SerializeToString, ApplyProfileDeltasResponse.FromString
        )
        for loaded in _applied(partial(apply.future, timeout=DEADLINE_S, metadata=metadata), messages):
            if loaded - said >= SAY_EVERY:
                say(f"{loaded:,} profiles loaded")
                said = loaded
    return loaded


def _applied(begin: Callable[..., Any], messages: Iterator[ApplyProfileDeltasRequest]) -> Iterator[int]:
    """The running number of deltas applied, after each message, in the order of sending."""
    waiting: deque[tuple[int, Any]] = deque()
    applied = 0
    for message in messages:
        waiting.append((len(message.deltas), begin(message)))
        if len(waiting) >= IN_FLIGHT:
            applied += _finish(*waiting.popleft())
            yield applied
    while waiting:
        applied += _finish(*waiting.popleft())
        yield applied


def _finish(deltas: int, call: Any) -> int:
    rejected = call.result().rejected
    if rejected:
        raise RejectedError(f"{len(rejected)} of {deltas} deltas were refused; the first: {rejected[0].status}")
    return deltas
