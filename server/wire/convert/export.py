"""What is exported of a customer, and the receipt of an erasure."""

from opportune.v1 import profile_service_pb2 as pb

from server.domain.erasure import ErasureReceipt
from server.domain.profile import Profile
from server.execution.export import ExportedChange, ExportedValue, ExportPart
from server.wire.convert.profile import delta_to, profile_to
from server.wire.convert.value import time_to, value_to


def exported_to(part: ExportPart) -> pb.ExportProfileResponse:
    """The message of a part of an export."""
    match part:
        case Profile():
            return pb.ExportProfileResponse(profile=profile_to(part))
        case ExportedValue():
            return pb.ExportProfileResponse(value=_value_to(part))
        case ExportedChange():
            return pb.ExportProfileResponse(change=_change_to(part))


def erased_to(receipt: ErasureReceipt) -> pb.EraseProfileResponse:
    """The message of the receipt of an erasure."""
    return pb.EraseProfileResponse(
        offset=receipt.offset,
        complete_time=time_to(receipt.complete_time),
        identifiers=receipt.identifiers,
        stores=[
            pb.ErasedFrom(store=each.store, removed=each.removed, description=each.description)
            for each in receipt.stores
        ],
    )


def _value_to(value: ExportedValue) -> pb.ExportedValue:
    message = pb.ExportedValue(
        identifier=value.identifier, store=value.store, name=value.name, value=value_to(value.value)
    )
    if value.event_time is not None:
        message.event_time.CopyFrom(time_to(value.event_time))
    return message


def _change_to(change: ExportedChange) -> pb.ExportedChange:
    message = pb.ExportedChange(
        source=change.source,
        sequence=change.sequence,
        receive_time=time_to(change.receive_time),
        description=change.description,
    )
    if change.delta is not None:
        message.delta.CopyFrom(delta_to(change.delta))
    return message
