"""Profiles and deltas."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from opportune.v1 import profile_pb2, profile_service_pb2, value_pb2

from server.domain.clock import microseconds_of
from server.domain.errors import OpportuneError, invalid_field
from server.domain.identifier import shown_name
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, Profile, ProfileDelta, RejectedDelta
from server.wire.convert.value import microseconds_from, texts_from, time_to, value_to, values_from
from server.wire.status import rpc_status

_NOTHING: dict[str, float] = {}
_NO_TEXTS: dict[str, tuple[str, ...]] = {}


def delta_from(message: profile_pb2.ProfileDelta, received_us: int) -> ProfileDelta | OpportuneError:
    """A delta, or what is wrong with it: one that cannot be read is refused alone, without its neighbours."""
    try:
        event_time_us = received_us
        if message.HasField("event_time"):
            event_time_us = microseconds_from(message.event_time, "event_time")
        other_ids = tuple(message.other_ids) if message.other_ids else ()
        return ProfileDelta(message.customer_id, event_time_us, _change_from(message, bool(other_ids)), other_ids)
    except OpportuneError as error:
        return error


def deltas_from(
    messages: Sequence[profile_pb2.ProfileDelta], received: datetime
) -> list[ProfileDelta | OpportuneError]:
    """The deltas of a request; those without a time happened when they were received."""
    received_us = microseconds_of(received)
    return [delta_from(message, received_us) for message in messages]


def rejected_to(delta: RejectedDelta, sequence: int) -> profile_service_pb2.RejectedDelta:
    """The message of a delta that was refused."""
    return profile_service_pb2.RejectedDelta(sequence=sequence, index=delta.index, status=rpc_status(delta.error))


def profile_to(profile: Profile) -> profile_pb2.Profile:
    """The message of a profile."""
    return profile_pb2.Profile(
        customer_id=profile.customer_id,
        attributes={name: value_to(value) for name, value in profile.attributes.items()},
        consents=profile.consents,
        profile_version=profile.version,
        update_time=time_to(profile.update_time),
        identifiers=profile.identifiers,
    )


def delta_to(delta: ProfileDelta) -> profile_pb2.ProfileDelta:
    """The message of a delta as the journal keeps it."""
    message = profile_pb2.ProfileDelta(customer_id=delta.customer_id, other_ids=delta.other_ids)
    message.event_time.FromMicroseconds(delta.event_time_us)
    match delta.change:
        case AttributeUpdates() as updates:
            message.attributes.SetInParent()
            for name, value in updates.set.items():
                message.attributes.set[name].CopyFrom(value_to(value))
            message.attributes.increment.update(updates.increment)
            for texts, target in (
                (updates.append, message.attributes.append),
                (updates.remove, message.attributes.remove),
            ):
                for name, members in texts.items():
                    target[name].values.extend(members)
        case ConsentUpdate(purpose, granted, source, version):
            consent = profile_pb2.ConsentUpdate(purpose=purpose, granted=granted, source=source, version=version)
            message.consent.CopyFrom(consent)
        case Event(type_, properties):
            message.event.type = type_
            for name, value in properties.items():
                message.event.properties[name].CopyFrom(value_to(value))
    return message


def _change_from(
    message: profile_pb2.ProfileDelta, may_be_missing: bool
) -> AttributeUpdates | Event | ConsentUpdate | None:
    match message.WhichOneof("change"):
        case "attributes":
            updates = message.attributes
            return AttributeUpdates(
                values_from(updates.set, "attributes.set"),
                dict(updates.increment) if updates.increment else _NOTHING,
                _texts_by_key(updates.append, "attributes.append"),
                _texts_by_key(updates.remove, "attributes.remove"),
            )
        case "consent":
            consent = message.consent
            return ConsentUpdate(consent.purpose, consent.granted, consent.source, consent.version)
        case "event":
            return Event(message.event.type, values_from(message.event.properties, "event.properties"))
    if may_be_missing:
        return None
    raise invalid_field("change", "is required: attributes, event or consent")


def _texts_by_key(messages: Mapping[str, value_pb2.StringList], field: str) -> dict[str, tuple[str, ...]]:
    if not messages:
        return _NO_TEXTS
    return {name: texts_from(messages[name], f'{field}["{shown_name(name)}"]') for name in messages}
