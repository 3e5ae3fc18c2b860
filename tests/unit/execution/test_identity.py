import pytest

from server.domain.errors import ErrorReason, OpportuneError
from server.domain.journal import DeltasRejected
from server.execution.identity import LinkIdentifiers, UnlinkIdentifier
from tests.support.catalogs import catalog_document, offer_entry
from tests.support.direct_writer import at_once
from tests.support.service import Service


@pytest.fixture
def service() -> Service:
    return Service(catalog_document(identity={"max_identifiers": 3}))


@pytest.fixture
def link(service: Service) -> LinkIdentifiers:
    return LinkIdentifiers(service.state, service.writer, service.clock)


@pytest.fixture
def unlink(service: Service) -> UnlinkIdentifier:
    return UnlinkIdentifier(service.state, service.writer, service.clock)


def test_link_answers_with_the_joined_profile(service: Service, link: LinkIdentifiers) -> None:
    service.set("a", visits=1.0)
    service.set("b", member=True)

    profile = at_once(link("b", "a"))

    assert (profile.customer_id, profile.identifiers) == ("b", ("a", "b"))
    assert profile.attributes == {"visits": 1.0, "member": True}
    assert profile.version == service.state.profile_version


def test_parting_answers_with_the_profiles_of_all_that_were_one(
    service: Service, link: LinkIdentifiers, unlink: UnlinkIdentifier
) -> None:
    service.set("a", visits=1.0)
    at_once(link("a", "b"))
    at_once(link("b", "c"))

    profiles = at_once(unlink("b", "a"))

    assert [profile.identifiers for profile in profiles] == [("b", "c"), ("a",)]
    assert [profile.attributes for profile in profiles] == [{}, {"visits": 1.0}]


def test_parting_from_one_who_was_only_shown_offers_answers_with_both(
    service: Service, link: LinkIdentifiers, unlink: UnlinkIdentifier
) -> None:
    service.publish(catalog_document([offer_entry("soap")], identity={"max_identifiers": 3}))
    for customer_id in ("a", "c"):
        assert service.rank(customer_id).offers
    at_once(link("a", "b"))
    at_once(link("b", "c"))

    profiles = at_once(unlink("b", ""))

    assert [profile.identifiers for profile in profiles] == [("b",), ("a",), ("c",)]
    assert [profile.attributes for profile in profiles] == [{}] * 3


def test_parting_from_everybody_needs_no_other(link: LinkIdentifiers, unlink: UnlinkIdentifier) -> None:
    at_once(link("a", "b"))
    at_once(link("a", "c"))

    assert [profile.identifiers for profile in at_once(unlink("a", ""))] == [("a",), ("b",), ("c",)]


@pytest.mark.parametrize(("customer_id", "other_id"), [("a", "c"), ("a", "x"), ("x", "a"), ("x", ""), ("c", "")])
def test_parting_what_is_not_linked_is_refused(
    service: Service, link: LinkIdentifiers, unlink: UnlinkIdentifier, customer_id: str, other_id: str
) -> None:
    service.set("c", visits=1.0)
    at_once(link("a", "b"))
    entries = len(service.writer.entries)

    with pytest.raises(OpportuneError) as refused:
        at_once(unlink(customer_id, other_id))

    assert refused.value.reason is ErrorReason.NOT_LINKED
    assert len(service.writer.entries) == entries


def test_too_many_identifiers_are_refused_and_the_refusal_is_recorded(service: Service, link: LinkIdentifiers) -> None:
    at_once(link("a", "b"))
    at_once(link("c", "d"))

    with pytest.raises(OpportuneError) as refused:
        at_once(link("a", "c"))

    assert refused.value.reason is ErrorReason.TOO_MANY_IDENTIFIERS
    recorded = service.writer.entries[-1]
    assert isinstance(recorded, DeltasRejected)
    assert recorded.rejections[0].reason == "TOO_MANY_IDENTIFIERS"
    assert service.get_profile("a").identifiers == ("a", "b")


@pytest.mark.parametrize(
    ("customer_id", "other_id", "field"),
    [("", "b", "customer_id"), ("a", "", "other_id"), ("a b", "c", "customer_id"), ("a", "a", "other_id")],
)
def test_link_needs_two_identifiers(link: LinkIdentifiers, customer_id: str, other_id: str, field: str) -> None:
    with pytest.raises(OpportuneError) as refused:
        at_once(link(customer_id, other_id))

    assert refused.value.violations[0].field == field


def test_nothing_is_linked_before_the_first_catalog() -> None:
    service = Service()

    with pytest.raises(OpportuneError) as refused:
        at_once(LinkIdentifiers(service.state, service.writer, service.clock)("a", "b"))

    assert refused.value.reason is ErrorReason.NO_CATALOG
