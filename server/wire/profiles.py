"""The servicer of ProfileService: decode, one call, encode."""

import asyncio
from dataclasses import dataclass

from opportune.v1 import profile_pb2
from opportune.v1 import profile_service_pb2 as pb

from server.domain.errors import invalid_field
from server.domain.profile import Profile
from server.execution.deltas import MAX_DELTAS, ApplyProfileDeltas
from server.execution.erase import EraseProfile
from server.execution.export import ExportProfile
from server.execution.identity import LinkIdentifiers, UnlinkIdentifier
from server.execution.load import LoadProfiles
from server.execution.profiles import GetProfile
from server.execution.rejected import ListRejectedDeltas
from server.execution.sources import Sources
from server.execution.state import Clock
from server.wire.brake import Brake, BrakedStream
from server.wire.caller import may_read_profiles
from server.wire.convert.export import erased_to, exported_to
from server.wire.convert.profile import deltas_from, profile_to, rejected_to
from server.wire.convert.value import time_to
from server.wire.endpoint import Stream
from server.wire.profile_streams import DeltaStream, LoadStream

LIMITS_BYTES = {
    "ApplyProfileDeltas": 1024 * 1024,
    "StreamProfileDeltas": 1024 * 1024,
    "LoadProfiles": 16 * 1024 * 1024,
}
LOADS_OUTSTANDING = 8
"""Batches of a bulk load between server and journal; each may have 16 MiB."""


@dataclass(frozen=True, slots=True)
class ProfileUseCases:
    """What the servicer calls."""

    apply: ApplyProfileDeltas
    load: LoadProfiles
    sources: Sources
    rejected: ListRejectedDeltas
    get: GetProfile
    link: LinkIdentifiers
    unlink: UnlinkIdentifier
    export: ExportProfile
    erase: EraseProfile


class ProfileServicer:
    """Writes and reads profiles. `closing` is set when the server wants its streams to end; `brake` slows deltas."""

    def __init__(
        self, use_cases: ProfileUseCases, clock: Clock, max_outstanding: int, closing: asyncio.Event, brake: Brake
    ) -> None:
        self._use = use_cases
        self._clock = clock
        self._max_outstanding = max_outstanding
        self._closing = closing
        self._brake = brake

    async def StreamProfileDeltas(self, stream: Stream) -> None:
        """Takes the deltas of a producer, message after message."""
        slowed = BrakedStream(stream, self._brake)
        call = DeltaStream(slowed, self._use.apply, self._use.sources, self._clock, self._max_outstanding)
        await call.run(self._closing)

    async def ApplyProfileDeltas(self, request: pb.ApplyProfileDeltasRequest) -> pb.ApplyProfileDeltasResponse:
        """Applies the deltas of a producer."""
        if len(request.deltas) > MAX_DELTAS:
            # Checked before the messages are looked at one by one.
            raise invalid_field("deltas", f"has more than {MAX_DELTAS:,} entries")
        applied = await self._use.apply(request.source, request.sequence, deltas_from(request.deltas, self._clock()))
        return pb.ApplyProfileDeltasResponse(
            acknowledged_sequence=applied.acknowledged_sequence,
            profile_version=applied.profile_version,
            rejected=[rejected_to(rejected, request.sequence) for rejected in applied.rejected],
        )

    async def LoadProfiles(self, stream: Stream) -> None:
        """Takes profiles in bulk."""
        await LoadStream(stream, self._use.load, self._use.sources, self._clock, LOADS_OUTSTANDING).run(self._closing)

    async def ListRejectedDeltas(self, request: pb.ListRejectedDeltasRequest) -> pb.ListRejectedDeltasResponse:
        """Lists what was refused."""
        rejections, token = await self._use.rejected(request.source, request.page_size, request.page_token)
        return pb.ListRejectedDeltasResponse(
            next_page_token=token,
            rejections=[
                pb.RecordedRejection(
                    source=each.source,
                    sequence=each.sequence,
                    index=each.place,
                    reason=each.reason,
                    message=each.message,
                    receive_time=time_to(each.receive_time),
                )
                for each in rejections
            ],
        )

    def GetProfile(self, request: pb.GetProfileRequest) -> profile_pb2.Profile:
        """Returns what is known about a customer."""
        return profile_to(self._use.get(request.customer_id))

    async def LinkIdentifiers(self, request: pb.LinkIdentifiersRequest) -> profile_pb2.Profile:
        """Joins two identifiers."""
        return _shown(await self._use.link(request.customer_id, request.other_id))

    async def UnlinkIdentifier(self, request: pb.UnlinkIdentifierRequest) -> pb.UnlinkIdentifierResponse:
        """Parts identifiers."""
        first, *others = await self._use.unlink(request.customer_id, request.other_id)
        return pb.UnlinkIdentifierResponse(profile=_shown(first), others=map(_shown, others))

    async def ExportProfile(self, stream: Stream) -> None:
        """Returns everything that is held about a customer."""
        request: pb.ExportProfileRequest | None = await stream.receive()
        async for part in self._use.export(request.customer_id if request else ""):
            await stream.send(exported_to(part))

    async def EraseProfile(self, request: pb.EraseProfileRequest) -> pb.EraseProfileResponse:
        """Erases a customer."""
        return erased_to(await self._use.erase(request.customer_id))


def _shown(profile: Profile) -> profile_pb2.Profile:
    """A profile for a caller who has changed it: one who brings links has not asked for what they join."""
    if may_read_profiles():
        return profile_to(profile)
    return profile_pb2.Profile(profile_version=profile.version)
