"""Tells the story of a golden decision to a service: what is known, what happened before, and the question."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from server.domain.attribute import Value
from server.domain.clock import microseconds_of
from server.domain.contact import ContactKind, ContactSubject
from server.domain.decision import Decision
from server.domain.journal import IdentifiersLinked, IdentifierUnlinked, OutcomesReported
from server.domain.model import RUN_LIMIT_NS, ModelTimeout
from server.domain.outcome import DecisionRef, Outcome
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from tests.support.case_files import Case, Customer, Happened, ModelKind, ReportedOutcome, Step
from tests.support.clock import NOON
from tests.support.models import FakeModel, appeal, fails
from tests.support.service import SOURCE, Service, offer_ids

_SECOND_NS = 1_000_000_000


class MoodyModel(FakeModel):
    """The model `fake/1`, which is what the case says that it is at the moment."""

    def __init__(self, kind: ModelKind) -> None:
        super().__init__()
        self.kind: ModelKind = kind

    def run(self, inputs: Mapping[str, Any], limit_ns: int = RUN_LIMIT_NS) -> Any:
        """Scores each offer with its attribute `appeal`, if it does."""
        match self.kind:
            case "failing":
                return fails(inputs)
            case "late":
                raise ModelTimeout("fake/1: cut off")
            case _:
                return appeal(inputs)


class Story:
    """A service that knows a case's catalog, model and customers, and what happened before the question."""

    def __init__(self, case: Case) -> None:
        self.model = MoodyModel(case.model or "appeal")
        self.service = Service(case.catalog, *([self.model] if case.model else []))
        self._document = case.catalog
        self._decisions: list[Decision] = []
        self._outcomes = 0
        self._learn(case.customers)
        for link in case.links:
            self.service.writer.write(IdentifiersLinked(self._now_us(), *link))
        for step in case.before:
            self._tell(step)

    def ask(self, query: Mapping[str, Any], now: datetime | None = None, **more: Any) -> Decision:
        """The decision for a query; without a time it is noon of 22 November 2026, UTC.

        Args:
            now: What the server's clock says; None: the time of the query.
        """
        arguments = {"time": now or NOON, **query, **more}
        self.service.clock.now = now or arguments["time"]
        arguments["context"] = {name: value_of(value) for name, value in query.get("context", {}).items()}
        for name in ("candidate_offer_ids", "further_placement_ids"):
            arguments[name] = tuple(query.get(name, ()))
        if self.model.kind == "slow":
            for scorer in self.service.state.snapshot().scorers.values():
                # A nanosecond for a run, and a second for each offer; a run that was quick teaches otherwise.
                scorer.cost.measure({1: 1, 2: 1 + _SECOND_NS})
        return self.service.rank(**arguments)

    def _tell(self, step: Step) -> None:
        """Makes a step happen, and checks what it says has come of it."""
        self.service.clock.now = step.at
        if step.rank is not None:
            self._rank(step)
        elif step.outcome is not None:
            self._report(step.outcome, step)
        elif step.link is not None:
            self.service.writer.write(IdentifiersLinked(self._now_us(), *step.link))
        elif step.unlink is not None:
            self.service.writer.write(IdentifierUnlinked(self._now_us(), *step.unlink))
        elif step.customers is not None:
            self._learn(step.customers)
        elif step.publish is not None:
            self._document = {**self._document, **step.publish}
            self.service.publish(self._document)
        elif step.model is not None:
            self.model.kind = step.model

    def _rank(self, step: Step) -> None:
        assert step.rank is not None
        decision = self.ask(step.rank, step.at)
        if not step.rank.get("validate_only"):
            self._decisions.append(decision)
        if step.expect is not None:
            assert offer_ids(decision) == step.expect, f"at {step.at}"
        if step.rung:
            assert decision.rung.name == step.rung, f"at {step.at}"

    def _report(self, reported: ReportedOutcome, step: Step) -> None:
        """Writes the entry that ReportOutcomes writes."""
        self._outcomes += 1
        kind, time_us = ContactKind[reported.kind.upper()], self._now_us()
        by_token = reported.by == "token"
        outcome = Outcome(
            reported.id or f"outcome-{self._outcomes}",
            kind,
            time_us,
            decision=self._token(reported) if by_token else None,
            customer_id="" if by_token else reported.customer_id,
            offer_id="" if by_token else reported.offer,
            placement_id=reported.placement_id,
            revenue=reported.revenue,
            profit=reported.profit,
        )
        subject = None if by_token else self._subject(reported)
        written = self.service.writer.write(OutcomesReported(time_us, (outcome,), (subject,))).result()
        if step.becomes:
            assert [each.attribution.name for each in written.attributed] == [step.becomes], f"at {step.at}"

    def _token(self, reported: ReportedOutcome) -> DecisionRef:
        """What the token says that the customer's latest decision has given with the offer."""
        for decision in reversed(self._decisions):
            for slot, offer in enumerate(decision.offers):
                if (decision.customer_id, offer.offer_id) == (reported.customer_id, reported.offer) and (
                    reported.placement_id in ("", offer.placement_id)
                ):
                    return DecisionRef(int(decision.decision_id[:16], 16), int(decision.decision_id[16:], 16), slot)
        raise AssertionError(f"no decision has shown {reported.offer} to {reported.customer_id}")

    def _subject(self, reported: ReportedOutcome) -> ContactSubject:
        """What an outcome without token is about, as the catalog has it."""
        offer = next(offer for offer in self._document["offers"] if offer["id"] == reported.offer)
        placement_id = reported.placement_id or self._document["placements"][0]["id"]
        channels = next(each["channel"] for each in self._document["placements"] if each["id"] == placement_id)
        channel = channels if isinstance(channels, str) else channels[0]
        return ContactSubject(offer["id"], placement_id, channel, offer["tactic"], offer.get("exclusion_group", ""))

    def _learn(self, customers: Mapping[str, Customer]) -> None:
        """Makes known what the case knows about customers, as of now."""
        for customer_id, customer in customers.items():
            values = {name: value_of(value) for name, value in customer.set.items()}
            members = {name: tuple(names) for name, names in customer.append.items()}
            changes: list[AttributeUpdates | ConsentUpdate] = [AttributeUpdates(set=values, append=members)]
            changes += [ConsentUpdate(purpose, granted) for purpose, granted in customer.consents.items()]
            deltas = [ProfileDelta(customer_id, self._now_us(), change) for change in changes]
            deltas += [delta for happened in customer.events for delta in _deltas_of(customer_id, happened)]
            applied = self.service.apply_deltas(SOURCE, 0, deltas)
            assert not applied.rejected, applied.rejected[0].error.message

    def _now_us(self) -> int:
        return microseconds_of(self.service.clock.now)


def _deltas_of(customer_id: str, happened: Happened) -> Iterator[ProfileDelta]:
    """What happened as deltas of its own time."""
    time_us = microseconds_of(happened.at)
    if happened.event:
        properties = {name: value_of(value) for name, value in happened.properties.items()}
        yield ProfileDelta(customer_id, time_us, Event(happened.event, properties))
    for purpose, granted in happened.consents.items():
        yield ProfileDelta(customer_id, time_us, ConsentUpdate(purpose, granted))


def value_of(value: Any) -> Value:
    """A value of YAML as a profile or a context takes it."""
    if isinstance(value, list):
        return tuple(value)
    assert isinstance(value, bool | str | int | float | datetime)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
