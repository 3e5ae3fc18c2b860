"""The servicer of ProfileService: decode, one call, encode."""

from opportune.v1 import profile_pb2
from opportune.v1 import profile_service_pb2 as pb

from server.domain.errors import invalid_field
from server.execution.profiles import MAX_DELTAS, ApplyProfileDeltas, GetProfile
from server.execution.state import Clock
from server.wire.convert.profile import applied_to, delta_from, profile_to

LIMITS_BYTES = {"ApplyProfileDeltas": 1024 * 1024}


class ProfileServicer:
    """Writes and reads profiles."""

    def __init__(self, apply: ApplyProfileDeltas, get: GetProfile, clock: Clock) -> None:
        self._apply = apply
        self._get = get
        self._clock = clock

    def ApplyProfileDeltas(self, request: pb.ApplyProfileDeltasRequest) -> pb.ApplyProfileDeltasResponse:
        """Applies the deltas of a producer."""
        if len(request.deltas) > MAX_DELTAS:
            # Checked before the messages are looked at one by one.
            raise invalid_field("deltas", f"has more than {MAX_DELTAS:,} entries")
        received = self._clock()
        deltas = [delta_from(delta, received) for delta in request.deltas]
        return applied_to(self._apply(request.source, request.sequence, deltas), request.sequence)

    def GetProfile(self, request: pb.GetProfileRequest) -> profile_pb2.Profile:
        """Returns what is known about a customer."""
        return profile_to(self._get(request.customer_id))
