"""StreamProfileDeltas and LoadProfiles: one call each."""

from opportune.v1 import profile_service_pb2 as pb

from server.domain.errors import invalid_field
from server.execution.deltas import MAX_DELTAS, ApplyProfileDeltas, DeltasApplied
from server.execution.load import LoadProfiles
from server.execution.sources import Accepted, Sources
from server.execution.state import Clock
from server.wire.convert.load import batch_from
from server.wire.convert.profile import deltas_from, rejected_to
from server.wire.endpoint import Stream
from server.wire.sequenced import SequencedStream


class DeltaStream(SequencedStream[pb.StreamProfileDeltasResponse]):
    """A call of StreamProfileDeltas."""

    def __init__(
        self, stream: Stream, apply: ApplyProfileDeltas, sources: Sources, clock: Clock, max_outstanding: int
    ) -> None:
        super().__init__(stream, sources, max_outstanding)
        self._apply = apply
        self._clock = clock
        self._max_outstanding = max_outstanding

    def accept(self, message: pb.StreamProfileDeltasRequest) -> Accepted:
        """See `SequencedStream`."""
        if len(message.deltas) > MAX_DELTAS:
            raise invalid_field("deltas", f"has more than {MAX_DELTAS:,} entries")
        if message.deltas and not message.sequence:
            raise invalid_field("sequence", "is required")
        return self._apply.accept(self.source, message.sequence, deltas_from(message.deltas, self._clock()))

    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """See `SequencedStream`."""
        return await self._apply.settle(accepted)

    def response(self, settled: list[tuple[Accepted, DeltasApplied]]) -> pb.StreamProfileDeltasResponse:
        """See `SequencedStream`."""
        newest = settled[-1][1]
        return pb.StreamProfileDeltasResponse(
            acknowledged_sequence=self.acknowledged,
            profile_version=newest.profile_version,
            rejected=[
                rejected_to(rejected, each.sequence) for each, applied in settled for rejected in applied.rejected
            ],
            max_outstanding=self._max_outstanding,
        )

    def closing(self, reason: str) -> pb.StreamProfileDeltasResponse:
        """See `SequencedStream`."""
        watermark = self._sources.watermark(self.source)
        return pb.StreamProfileDeltasResponse(
            acknowledged_sequence=watermark,
            closing=pb.Closing(reason=reason, acknowledged_sequence=watermark),
        )


class LoadStream(SequencedStream[pb.LoadProfilesResponse]):
    """A call of LoadProfiles."""

    def __init__(
        self, stream: Stream, load: LoadProfiles, sources: Sources, clock: Clock, max_outstanding: int
    ) -> None:
        super().__init__(stream, sources, max_outstanding)
        self._load = load
        self._clock = clock

    def accept(self, message: pb.LoadProfilesRequest) -> Accepted:
        """See `SequencedStream`."""
        return self._load.accept(self.source, message.sequence, batch_from(message, self._clock()))

    async def settle(self, accepted: Accepted) -> DeltasApplied:
        """See `SequencedStream`."""
        return await self._load.settle(accepted)

    def response(self, settled: list[tuple[Accepted, DeltasApplied]]) -> pb.LoadProfilesResponse:
        """See `SequencedStream`."""
        newest = settled[-1][1]
        return pb.LoadProfilesResponse(acknowledged_sequence=self.acknowledged, profile_version=newest.profile_version)

    def closing(self, reason: str) -> pb.LoadProfilesResponse:
        """See `SequencedStream`."""
        watermark = self._sources.watermark(self.source)
        closing = pb.Closing(reason=reason, acknowledged_sequence=watermark)
        return pb.LoadProfilesResponse(acknowledged_sequence=watermark, closing=closing)
