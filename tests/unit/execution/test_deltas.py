from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError, invalid_field
from server.domain.identity import IdentityPolicy
from server.domain.journal import DeltasReceived, DeltasRejected
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from server.domain.vault import SealedText
from server.execution.deltas import (
    MAX_DELTAS,
    MAX_OTHER_IDS,
    MAX_TEXT_BYTES,
    ApplyProfileDeltas,
    DeltasApplied,
)
from server.execution.rejections import RejectionLimit
from tests.support.catalogs import ATTRIBUTES, Document, catalog_document
from tests.support.clock import NOON_US
from tests.support.direct_writer import at_once
from tests.support.service import SOURCE, Service

AGGREGATES: list[Document] = [{"id": "last_purchase", "event": "purchase", "op": "last"}]
TEXTS: list[Document] = [{"id": "email", "type": "text"}, {"id": "name", "type": "text"}]
RULES: Document = {
    "match": [
        {"id": "by_email", "parts": [{"attribute": "email", "form": "email"}]},
        {"id": "by_both", "parts": [{"attribute": "email", "form": "email"}, {"attribute": "name", "form": "name"}]},
    ]
}


@pytest.fixture
def service() -> Service:
    return Service(catalog_document(aggregates=AGGREGATES))


def visits(count: float, customer_id: str = "a") -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, AttributeUpdates(increment={"visits": count}))


BROKEN = ProfileDelta("a", NOON_US, AttributeUpdates(set={"visits": 1.0, "vists": 2.0}))


def fields(applied: DeltasApplied) -> list[tuple[int, str]]:
    return [(rejected.index, rejected.error.violations[0].field) for rejected in applied.rejected]


def test_request_is_one_entry_and_one_version(service: Service) -> None:
    applied = service.apply_deltas(SOURCE, 1, [visits(1), visits(1, "b"), visits(1)])

    assert applied == DeltasApplied(1, 2, ())
    assert (service.get_profile("a").version, service.get_profile("b").version) == (2, 2)
    assert service.writer.entries[-1] == DeltasReceived(NOON_US, SOURCE, 1, (visits(1), visits(1, "b"), visits(1)))


def test_rejected_delta_changes_nothing_and_those_around_it_are_applied(service: Service) -> None:
    applied = service.apply_deltas(SOURCE, 1, [visits(1), BROKEN, visits(1)])

    assert fields(applied) == [(1, 'attributes.set["vists"]')]
    assert applied.acknowledged_sequence == 1
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

    service.apply_deltas(SOURCE, 0, [visits(1)])

    assert service.sources.watermark(SOURCE) == 5
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
    assert service.state.profile_version == 1


def test_deltas_before_the_first_catalog_are_refused() -> None:
    with pytest.raises(OpportuneError) as refused:
        Service().apply_deltas(SOURCE, 1, [visits(1)])

    assert refused.value.reason is ErrorReason.NO_CATALOG


@pytest.mark.parametrize(
    ("delta", "field"),
    [
        (ProfileDelta("", NOON_US, AttributeUpdates()), "customer_id"),
        (ProfileDelta("a", -1, AttributeUpdates()), "event_time"),
        (ProfileDelta("a", microseconds_of(datetime(2200, 1, 1, tzinfo=UTC)), AttributeUpdates()), "event_time"),
        (ProfileDelta("a", NOON_US, Event("view")), "event.type"),
        (ProfileDelta("a", NOON_US, None), "change"),
        (ProfileDelta("a", NOON_US, None, ("",)), "other_ids[0]"),
        (ProfileDelta("a", NOON_US, None, ("b", "c d")), "other_ids[1]"),
        (ProfileDelta("a", NOON_US, None, tuple(f"x{n}" for n in range(MAX_OTHER_IDS + 1))), "other_ids"),
        (ProfileDelta("a", NOON_US, ConsentUpdate("advertising", True)), "consent.purpose"),
        (ProfileDelta("a", NOON_US, ConsentUpdate("", True)), "consent.purpose"),
        (
            ProfileDelta("a", NOON_US, ConsentUpdate("personalization", True, "x" * (MAX_TEXT_BYTES + 1))),
            "consent.source",
        ),
        (
            ProfileDelta("a", NOON_US, ConsentUpdate("personalization", True, "", "ä" * MAX_TEXT_BYTES)),
            "consent.version",
        ),
        (
            ProfileDelta("a", NOON_US, AttributeUpdates(remove={f"x{n}": () for n in range(4_097)})),
            "attributes",
        ),
    ],
)
def test_delta_that_does_not_fit_is_rejected_with_its_path(service: Service, delta: ProfileDelta, field: str) -> None:
    assert fields(service.apply_deltas(SOURCE, 1, [delta])) == [(0, field)]
    assert len(service.state.profiles) == 0


def test_refused_deltas_are_recorded_without_anything_of_the_customer(service: Service) -> None:
    service.apply_deltas(SOURCE, 3, [visits(1), BROKEN, ProfileDelta("jane@x y", NOON_US, AttributeUpdates())])

    rejected, received = service.writer.entries[-2:]

    assert isinstance(rejected, DeltasRejected)
    assert isinstance(received, DeltasReceived)
    assert [(each.place, each.reason) for each in rejected.rejections] == [(1, "INVALID_FIELD"), (2, "INVALID_FIELD")]
    assert (rejected.source, rejected.sequence, received.deltas) == (SOURCE, 3, (visits(1),))
    assert "jane" not in str(rejected)


def test_request_of_refused_deltas_alone_moves_the_watermark(service: Service) -> None:
    assert service.apply_deltas(SOURCE, 3, [BROKEN]).acknowledged_sequence == 3
    assert service.sources.watermark(SOURCE) == 3


def test_event_that_an_aggregate_takes_is_applied(service: Service) -> None:
    applied = service.apply_deltas(SOURCE, 1, [ProfileDelta("a", NOON_US, Event("purchase", {"amount": 3.0}))] * 2)

    assert applied.rejected == ()
    assert service.attributes("a").keys() == {"last_purchase"}


def test_delta_that_turns_out_to_be_refused_is_told_in_its_place_and_recorded(service: Service) -> None:
    service.publish(catalog_document(identity={"max_identifiers": 2}))
    crowd = ProfileDelta("a", NOON_US, None, ("b", "c"))

    applied = service.apply_deltas(SOURCE, 1, [BROKEN, visits(1), crowd, BROKEN])

    assert [(each.index, each.error.reason.name) for each in applied.rejected] == [
        (0, "INVALID_FIELD"), (2, "TOO_MANY_IDENTIFIERS"), (3, "INVALID_FIELD")
    ]  # fmt: skip
    recorded = [entry for entry in service.writer.entries if isinstance(entry, DeltasRejected)]
    assert [[each.place for each in entry.rejections] for entry in recorded] == [[0, 3], [2]]


def limited(service: Service, per_minute: int) -> ApplyProfileDeltas:
    return ApplyProfileDeltas(
        service.state, service.writer, service.sources, clock=service.clock, limit=RejectionLimit(per_minute)
    )


def test_source_with_too_many_refused_deltas_is_stopped_until_the_minute_is_over(service: Service) -> None:
    apply = limited(service, 2)
    at_once(apply(SOURCE, 1, [BROKEN, BROKEN, BROKEN]))
    service.clock.advance(seconds=20)

    with pytest.raises(OpportuneError) as refused:
        at_once(apply(SOURCE, 2, [visits(1)]))

    assert refused.value.reason is ErrorReason.TOO_MANY_REJECTED
    assert refused.value.retry_after_ms == 40_001
    at_once(apply("shop", 1, [visits(1)]))
    assert at_once(apply(SOURCE, 1, [visits(1)])).acknowledged_sequence == 1
    service.clock.advance(seconds=41)
    assert at_once(apply(SOURCE, 2, [visits(1)])).acknowledged_sequence == 2


class FakeSealer:
    """Seals by turning a text around, so that what was sealed can be told from what was not."""

    pepper = b"pepper" * 4

    def seal(self, identifier: str, attribute: str, event_time_us: int, text: str) -> SealedText:
        return SealedText(identifier, attribute, event_time_us, text[::-1].encode())


@pytest.fixture
def texts() -> Service:
    return Service(catalog_document(attributes=[*ATTRIBUTES, *TEXTS], aggregates=AGGREGATES, identity=RULES))


def sealing(service: Service) -> ApplyProfileDeltas:
    limit = RejectionLimit(1_000)
    return ApplyProfileDeltas(
        service.state, service.writer, service.sources, clock=service.clock, limit=limit, sealer=FakeSealer()
    )


def person(customer_id: str, **more: Any) -> ProfileDelta:
    return ProfileDelta(customer_id, NOON_US, AttributeUpdates(set=more))


def written(service: Service) -> Sequence[ProfileDelta]:
    entry = service.writer.entries[-1]
    assert isinstance(entry, DeltasReceived)
    return entry.deltas


def test_identifying_text_is_refused_where_there_is_no_vault(texts: Service) -> None:
    applied = texts.apply_deltas(
        SOURCE,
        1,
        [
            person("a", email="jane@example.com", visits=1.0),
            ProfileDelta("a", NOON_US, AttributeUpdates(remove={"email": ()})),
            person("a", visits=2.0),
        ],
    )

    assert [(each.index, each.error.reason) for each in applied.rejected] == [
        (0, ErrorReason.NO_VAULT), (1, ErrorReason.NO_VAULT)
    ]  # fmt: skip
    assert texts.attributes("a") == {"visits": 2.0}


def test_journal_has_match_keys_instead_of_identifying_text(texts: Service) -> None:
    apply = sealing(texts)

    at_once(apply(SOURCE, 1, [person("a", email="Jane@Example.com", name="Jane", visits=1.0)]))

    (delta,) = written(texts)
    assert delta.change == AttributeUpdates(set={"visits": 1.0})
    assert [len(key) for key in delta.match_keys] == [16, 16]
    assert texts.writer.sealed == [
        SealedText("a", "email", NOON_US, b"moc.elpmaxE@enaJ"), SealedText("a", "name", NOON_US, b"enaJ")
    ]  # fmt: skip
    assert "ane" not in str(texts.writer.entries[-1])
    assert texts.attributes("a") == {"visits": 1.0}


def test_rule_that_asks_for_more_texts_than_there_are_has_no_key(texts: Service) -> None:
    apply = sealing(texts)

    at_once(
        apply(SOURCE, 1, [person("a", email="jane@example.com"), person("b", name="Jane"), person("c", visits=1.0)])
    )

    assert [len(delta.match_keys) for delta in written(texts)] == [1, 0, 0]


def test_identifiers_with_the_same_text_in_another_spelling_are_joined(texts: Service) -> None:
    apply = sealing(texts)

    at_once(apply(SOURCE, 1, [person("a", email="Jane+shop@Example.com", visits=4.0)]))
    at_once(apply(SOURCE, 2, [person("b", email="jane@example.com")]))

    assert texts.get_profile("b").identifiers == ("a", "b")
    assert texts.attributes("b")["visits"] == 4.0


def test_text_that_is_taken_back_is_taken_from_the_vault(texts: Service) -> None:
    apply = sealing(texts)

    at_once(apply(SOURCE, 1, [ProfileDelta("a", NOON_US, AttributeUpdates(remove={"email": (), "tier": ()}))]))

    assert texts.writer.sealed == [SealedText("a", "email", NOON_US, None)]
    assert written(texts)[0].change == AttributeUpdates(remove={"tier": ()})
    assert written(texts)[0].match_keys == ()


def test_nothing_is_sealed_of_a_delta_that_is_refused(texts: Service) -> None:
    apply = sealing(texts)

    applied = at_once(apply(SOURCE, 1, [person("a", email="jane@example.com", vists=1.0), person("a", email=5.0)]))

    assert len(applied.rejected) == 2
    assert texts.writer.sealed == []
    assert "jane" not in str(texts.writer.entries)


def test_delta_may_bring_no_match_keys_of_its_own(texts: Service) -> None:
    apply = sealing(texts)
    forged = ProfileDelta("a", NOON_US, AttributeUpdates(set={"email": "jane@example.com"}), (), (b"x" * 16,))

    at_once(apply(SOURCE, 1, [forged]))

    assert b"x" * 16 not in written(texts)[0].match_keys


def test_without_rules_texts_have_no_keys(texts: Service) -> None:
    texts.publish(catalog_document(attributes=[*ATTRIBUTES, *TEXTS]))
    assert texts.state.facts.policy == IdentityPolicy()
    apply = sealing(texts)

    at_once(apply(SOURCE, 1, [person("a", email="jane@example.com")]))

    assert written(texts)[0].match_keys == ()


def test_rule_looks_at_the_texts_of_one_delta_together(texts: Service) -> None:
    only_both: Document = {"match": [RULES["match"][1]]}
    texts.publish(catalog_document(attributes=[*ATTRIBUTES, *TEXTS], identity=only_both))
    apply = sealing(texts)

    at_once(apply(SOURCE, 1, [person("a", email="jane@example.com", name="Jane")]))
    at_once(apply(SOURCE, 2, [person("b", email="jane@example.com")]))
    at_once(apply(SOURCE, 3, [person("b", name="Jane")]))

    assert texts.get_profile("b").identifiers == ("b",)


def test_refused_delta_is_told_in_its_place_when_the_catalog_was_published_twice(service: Service) -> None:
    for offers in ([], [{"id": "x", "tactic": "t", "value": {"revenue": 1, "margin": 1}}]):
        service.publish(catalog_document(offers, identity={"max_identifiers": 2}))

    applied = service.apply_deltas(SOURCE, 1, [BROKEN, ProfileDelta("a", NOON_US, None, ("b", "c"))])

    assert [each.index for each in applied.rejected] == [0, 1]


def test_request_without_a_number_is_answered_with_the_watermark(service: Service) -> None:
    service.apply_deltas(SOURCE, 5, [visits(1)])

    assert service.apply_deltas(SOURCE, 0, [visits(1)]).acknowledged_sequence == 5
