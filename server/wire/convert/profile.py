"""Profiles and deltas."""

from collections.abc import Mapping
from datetime import datetime

from opportune.v1 import profile_pb2, profile_service_pb2, value_pb2

from server.domain.errors import OpportuneError, invalid_field
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, Profile, ProfileDelta
from server.execution.profiles import DeltasApplied
from server.wire.convert.value import texts_from, time_from, time_to, value_to, values_from
from server.wire.status import rpc_status


def delta_from(message: profile_pb2.ProfileDelta, received: datetime) -> ProfileDelta | OpportuneError:
    """A delta, or what is wrong with it: one that cannot be read is refused alone, without its neighbours."""
    try:
        time = time_from(message.event_time, "event_time") if message.HasField("event_time") else received
        return ProfileDelta(message.customer_id, time, _change_from(message))
    except OpportuneError as error:
        return error


def applied_to(applied: DeltasApplied, sequence: int) -> profile_service_pb2.ApplyProfileDeltasResponse:
    """The message of what became of a request's deltas."""
    return profile_service_pb2.ApplyProfileDeltasResponse(
        acknowledged_sequence=applied.acknowledged_sequence,
        profile_version=applied.profile_version,
        rejected=[
            profile_service_pb2.RejectedDelta(sequence=sequence, index=delta.index, status=rpc_status(delta.error))
            for delta in applied.rejected
        ],
    )


def profile_to(profile: Profile) -> profile_pb2.Profile:
    """The message of a profile."""
    return profile_pb2.Profile(
        customer_id=profile.customer_id,
        attributes={name: value_to(value) for name, value in profile.attributes.items()},
        consents=profile.consents,
        profile_version=profile.version,
        update_time=time_to(profile.update_time),
    )


def _change_from(message: profile_pb2.ProfileDelta) -> AttributeUpdates | Event | ConsentUpdate:
    match message.WhichOneof("change"):
        case "attributes":
            updates = message.attributes
            return AttributeUpdates(
                set=values_from(updates.set, "attributes.set"),
                increment=dict(updates.increment),
                append=_texts_by_key(updates.append, "attributes.append"),
                remove=_texts_by_key(updates.remove, "attributes.remove"),
            )
        case "consent":
            consent = message.consent
            return ConsentUpdate(consent.purpose, consent.granted, consent.source, consent.version)
        case "event":
            return Event(message.event.type, values_from(message.event.properties, "event.properties"))
    raise invalid_field("change", "is required: attributes, event or consent")


def _texts_by_key(messages: Mapping[str, value_pb2.StringList], field: str) -> dict[str, tuple[str, ...]]:
    return {name: texts_from(message, f'{field}["{name[:256]}"]') for name, message in messages.items()}
