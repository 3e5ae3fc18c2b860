from datetime import UTC, datetime, timedelta

import pytest

from server.domain.attribute import Value
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.execution.profiles import MAX_DELTAS, MAX_TEXT_BYTES, DeltasApplied
from tests.support.catalogs import catalog_document
from tests.support.clock import NOON
from tests.support.service import SOURCE, Service


@pytest.fixture
def service() -> Service:
    return Service(catalog_document())


def visits(count: float, customer_id: str = "a") -> ProfileDelta:
    return ProfileDelta(customer_id, NOON, AttributeUpdates(increment={"visits": count}))


BROKEN = ProfileDelta("a", NOON, AttributeUpdates(set={"visits": 1.0, "vists": 2.0}))


def fields(applied: DeltasApplied) -> list[tuple[int, str]]:
    return [(rejected.index, rejected.error.violations[0].field) for rejected in applied.rejected]


def test_profile_gives_back_what_was_set(service: Service) -> None:
    values: dict[str, Value] = {
        "tier": "gold",
        "visits": 0.7,
        "member": False,
        "tags": ("vegan", "student"),
        "last_visit": datetime(2026, 11, 20, tzinfo=UTC),
        "income": 12.5,
        "spend.floral": 3.0,
    }

    service.set("a", **values)

    assert service.attributes("a") == values


def test_profile_says_when_and_at_which_version_it_changed(service: Service) -> None:
    service.apply_deltas(SOURCE, 0, [visits(1), ProfileDelta("a", NOON - timedelta(days=3), AttributeUpdates())])

    profile = service.get_profile("a")

    assert (profile.customer_id, profile.version, profile.update_time) == ("a", 2, NOON)


def test_empty_set_is_not_a_missing_one(service: Service) -> None:
    service.set("a", tags=())

    assert service.attributes("a") == {"tags": ()}


def test_customer_of_whom_nothing_is_known_is_not_found(service: Service) -> None:
    with pytest.raises(OpportuneError) as refused:
        service.get_profile("nobody")

    assert refused.value.reason is ErrorReason.PROFILE_NOT_FOUND


def test_customer_id_is_not_repeated_in_errors(service: Service) -> None:
    with pytest.raises(OpportuneError) as refused:
        service.get_profile("jane@example.com")

    assert "jane" not in refused.value.message


def test_consents_are_recorded_and_shown(service: Service) -> None:
    service.consent("personalization", True, "a")
    service.consent("personalization", False, "b")

    assert service.get_profile("a").consents == {"personalization": True}
    assert service.get_profile("b").consents == {"personalization": False}


def test_each_applied_delta_is_one_version(service: Service) -> None:
    assert service.apply_deltas(SOURCE, 0, [visits(1), visits(1, "b"), visits(1)]).profile_version == 3
    assert service.get_profile("b").version == 2


def test_rejected_delta_changes_nothing_and_those_around_it_are_applied(service: Service) -> None:
    applied = service.apply_deltas(SOURCE, 1, [visits(1), BROKEN, visits(1)])

    assert fields(applied) == [(1, 'attributes.set["vists"]')]
    assert (applied.acknowledged_sequence, applied.profile_version) == (1, 2)
    assert service.attributes("a") == {"visits": 2.0}


def test_rejected_delta_does_not_create_its_customer(service: Service) -> None:
    service.apply_deltas(SOURCE, 1, [BROKEN])

    assert len(service.state.profiles) == 0


def test_delta_that_could_not_be_read_is_rejected_in_its_place(service: Service) -> None:
    applied = service.apply_deltas(SOURCE, 1, [visits(1), invalid_field("change", "is required")])

    assert fields(applied) == [(1, "change")]


def test_resent_request_is_acknowledged_and_not_applied_again(service: Service) -> None:
    first = service.apply_deltas(SOURCE, 5, [visits(1)])
    again = service.apply_deltas(SOURCE, 5, [visits(1)])
    older = service.apply_deltas(SOURCE, 3, [visits(1)])

    assert first == again == older
    assert service.attributes("a") == {"visits": 1.0}


def test_sequences_count_for_each_source_alone(service: Service) -> None:
    service.apply_deltas("crm", 5, [visits(1)])
    service.apply_deltas("shop", 1, [visits(1)])

    assert service.attributes("a") == {"visits": 2.0}


def test_request_without_deltas_asks_where_the_source_left_off(service: Service) -> None:
    service.apply_deltas(SOURCE, 5, [visits(1)])

    assert service.apply_deltas(SOURCE, 9, []).acknowledged_sequence == 5
    assert service.apply_deltas("new", 0, []).acknowledged_sequence == 0


def test_sequence_zero_is_always_applied_and_moves_no_watermark(service: Service) -> None:
    service.apply_deltas(SOURCE, 5, [visits(1)])

    applied = service.apply_deltas(SOURCE, 0, [visits(1)])

    assert applied.acknowledged_sequence == 5
    assert service.attributes("a") == {"visits": 2.0}


@pytest.mark.parametrize(
    ("source", "sequence", "count", "field"),
    [("", 1, 1, "source"), ("a b", 1, 1, "source"), ("a", -1, 1, "sequence"), ("a", 1, MAX_DELTAS + 1, "deltas")],
)
def test_request_out_of_bounds_is_refused_whole(
    service: Service, source: str, sequence: int, count: int, field: str
) -> None:
    with pytest.raises(OpportuneError) as refused:
        service.apply_deltas(source, sequence, [visits(1)] * count)

    assert refused.value.violations[0].field == field
    assert service.state.profile_version == 0


def test_deltas_before_the_first_catalog_are_refused() -> None:
    with pytest.raises(OpportuneError) as refused:
        Service().apply_deltas(SOURCE, 1, [visits(1)])

    assert refused.value.reason is ErrorReason.NO_CATALOG


@pytest.mark.parametrize(
    ("delta", "field"),
    [
        (ProfileDelta("", NOON, AttributeUpdates()), "customer_id"),
        (ProfileDelta("a", datetime(1960, 1, 1, tzinfo=UTC), AttributeUpdates()), "event_time"),
        (ProfileDelta("a", NOON, Event("purchase")), "event.type"),
        (ProfileDelta("a", NOON, ConsentUpdate("advertising", True)), "consent.purpose"),
        (ProfileDelta("a", NOON, ConsentUpdate("", True)), "consent.purpose"),
        (ProfileDelta("a", NOON, ConsentUpdate("personalization", True, "x" * (MAX_TEXT_BYTES + 1))), "consent.source"),
        (
            ProfileDelta("a", NOON, ConsentUpdate("personalization", True, "", "ä" * MAX_TEXT_BYTES)),
            "consent.version",
        ),
        (
            ProfileDelta("a", NOON, AttributeUpdates(remove={f"x{n}": () for n in range(4_097)})),
            "attributes",
        ),
    ],
)
def test_delta_that_does_not_fit_is_rejected_with_its_path(service: Service, delta: ProfileDelta, field: str) -> None:
    assert fields(service.apply_deltas(SOURCE, 1, [delta])) == [(0, field)]
    assert service.state.profile_version == 0


def test_profile_outlives_the_catalog_it_was_written_under(service: Service) -> None:
    service.set("a", tier="gold", visits=3.0)
    attributes = [{"id": "visits", "type": "number"}, {"id": "tier", "type": "category", "values": ["gold", "new"]}]

    service.publish(catalog_document(attributes=attributes))

    assert service.attributes("a") == {"tier": "gold", "visits": 3.0}


def test_cells_of_a_declared_key_outlive_the_last_offer_that_has_it() -> None:
    def document(*departments: str) -> dict[str, object]:
        offers = [
            {"id": name, "tactic": "t", "value": {"revenue": 1, "margin": 1}, "attributes": {"department": name}}
            for name in departments
        ]
        return catalog_document(
            offers, attributes=[{"id": "spend", "type": "number", "by": "department", "keys": ["floral", "grocery"]}]
        )

    service = Service(document("grocery", "floral"))
    service.set("a", **{"spend.floral": 5.0})
    service.publish(document("grocery"))
    service.publish(document("grocery", "floral"))

    assert service.attributes("a") == {"spend.floral": 5.0}
