from datetime import UTC, datetime, timedelta

import pytest

from server.domain.attribute import Value
from server.domain.errors import ErrorReason, OpportuneError
from server.domain.profile import AttributeUpdates, Event, ProfileDelta
from tests.support.catalogs import catalog_document
from tests.support.clock import NOON, NOON_US, us_ago
from tests.support.folds import linked
from tests.support.service import SOURCE, Service


@pytest.fixture
def service() -> Service:
    return Service(catalog_document())


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


def test_profile_says_when_and_at_which_version_it_changed(service: Service) -> None:
    service.apply_deltas(SOURCE, 0, [ProfileDelta("a", NOON_US, AttributeUpdates(increment={"visits": 1.0}))])
    service.apply_deltas(SOURCE, 0, [ProfileDelta("a", us_ago(days=3), AttributeUpdates())])

    profile = service.get_profile("a")

    assert (profile.customer_id, profile.version, profile.update_time) == ("a", 3, NOON)


def test_aggregates_are_worth_what_they_are_worth_now(service: Service) -> None:
    service.publish(
        catalog_document(
            aggregates=[
                {"id": "week", "event": "purchase", "op": "count", "window": "7d"},
                {"id": "fading", "event": "purchase", "op": "decayed_sum", "property": "amount", "half_life": "1d"},
                {"id": "last", "event": "purchase", "op": "last"},
            ]
        )
    )
    service.change("a", Event("purchase", {"amount": 4.0}))
    now = service.attributes("a")

    service.clock.advance(days=2)
    in_two_days = service.attributes("a")
    service.clock.advance(days=5)

    assert (now["week"], in_two_days["week"], service.attributes("a")["week"]) == (1.0, 1.0, 0.0)
    assert (now["fading"], in_two_days["fading"]) == (4.0, 1.0)
    assert isinstance(now["last"], datetime)
    assert abs(now["last"] - NOON) <= timedelta(seconds=11)
    assert in_two_days["last"] == now["last"]


def test_identifiers_of_a_customer_are_sorted_and_the_one_that_was_asked_for_is_told(service: Service) -> None:
    service.set("c", visits=1.0)
    service.set("a", member=True)
    service.writer.write(linked("c", "a"))
    service.writer.write(linked("b", "c"))

    profiles = [service.get_profile(each) for each in "abc"]

    assert [profile.customer_id for profile in profiles] == ["a", "b", "c"]
    assert {profile.identifiers for profile in profiles} == {("a", "b", "c")}
    assert all(profile.attributes == {"visits": 1.0, "member": True} for profile in profiles)
