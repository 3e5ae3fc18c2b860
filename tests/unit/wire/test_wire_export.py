"""Exports and receipts as messages."""

from datetime import UTC, datetime

from opportune.v1 import profile_service_pb2 as pb

from server.domain.erasure import ErasedFrom, ErasureReceipt
from server.domain.profile import AttributeUpdates, Profile, ProfileDelta
from server.execution.export import ExportedChange, ExportedValue
from server.wire.convert.export import erased_to, exported_to

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_profile_is_the_profile() -> None:
    message = exported_to(Profile("c:1", {"visits": 1.0}, {"ads": False}, 7, NOON, ("c:1", "c:2")))

    assert message.WhichOneof("part") == "profile"
    assert message.profile.identifiers == ["c:1", "c:2"]
    assert message.profile.attributes["visits"].number_value == 1.0


def test_value_has_its_place_and_its_time() -> None:
    message = exported_to(ExportedValue("c:1", "vault", "email", "a@b.c", NOON)).value

    assert (message.identifier, message.store, message.name) == ("c:1", "vault", "email")
    assert message.value.string_value == "a@b.c"
    assert message.event_time.ToDatetime(UTC) == NOON


def test_value_without_a_time_has_none() -> None:
    assert not exported_to(ExportedValue("c:1", "profile", "visits", 1.0, None)).value.HasField("event_time")


def test_change_is_a_delta_or_words() -> None:
    delta = ProfileDelta("c:1", 5, AttributeUpdates(set={"visits": 1.0}))

    changed = exported_to(ExportedChange("web", 3, NOON, delta, "")).change
    told = exported_to(ExportedChange("", 0, NOON, None, "c:1 and c:2 were joined")).change

    assert (changed.source, changed.sequence, changed.delta.customer_id) == ("web", 3, "c:1")
    assert changed.delta.attributes.set["visits"].number_value == 1.0
    assert not told.HasField("delta")
    assert told.description == "c:1 and c:2 were joined"
    assert told.receive_time.ToDatetime(UTC) == NOON


def test_receipt_names_every_store() -> None:
    receipt = ErasureReceipt(9, NOON, 3, (ErasedFrom("memory", 3, "rows"), ErasedFrom("vault", 0, "none")))

    assert erased_to(receipt) == pb.EraseProfileResponse(
        offset=9,
        complete_time=NOON,
        identifiers=3,
        stores=[
            pb.ErasedFrom(store="memory", removed=3, description="rows"),
            pb.ErasedFrom(store="vault", description="none"),
        ],
    )
