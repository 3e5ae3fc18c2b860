"""What a publisher gives for a message, and what that becomes when the message is acknowledged."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2
from opportune.v1 import profile_pb2


@dataclass(frozen=True, slots=True)
class Rejection:
    """A delta that the server refused. It is recorded there; sending it again as it is changes nothing.

    Attributes:
        sequence: of its message.
        index: its place in the message, from 0.
        delta: the delta itself.
        reason: a name of `ErrorReason` without its prefix, for example `INVALID_FIELD`.
        status: why, in full; a `BadRequest` in its details names the field.
    """

    sequence: int
    index: int
    delta: profile_pb2.ProfileDelta
    reason: str
    status: status_pb2.Status


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A message is durable on the server, and visible to RankOffers.

    Attributes:
        sequence: of the message.
        profile_version: give it to RankOffers as `min_profile_version` to read what was written.
        rejected: the deltas of this message that were refused; the others are applied.
        rejections_known: whether `rejected` is sure to be complete. It is not when the stream broke while the message
            was on its way: the message is applied once, but the server tells of a rejection once, and that may have
            been to the broken stream. ListRejectedDeltas has them all.
    """

    sequence: int
    profile_version: int
    rejected: tuple[Rejection, ...] = ()
    rejections_known: bool = True


class Ticket:
    """Stands for one published message; await it for the acknowledgement, as often and from as many tasks as you like.

    Awaiting raises PublishError once publishing has stopped without acknowledging the message. A ticket that nobody
    awaits does no harm.
    """

    __slots__ = ("_future", "sequence")

    def __init__(self, sequence: int, future: asyncio.Future[Acknowledgement]) -> None:
        self.sequence = sequence
        self._future = future

    def done(self) -> bool:
        """Whether awaiting it would not wait."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, Acknowledgement]:
        return self._settled().__await__()

    async def _settled(self) -> Acknowledgement:
        # Awaiting the future itself would cancel it, for everybody, with the one who waits.
        if not self._future.done():
            await asyncio.wait([self._future])
        return self._future.result()
