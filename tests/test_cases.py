"""Golden decisions: each file of `tests/cases` is a catalog, customers, a question and the answer it must get.

`tests/cases/README.md` says how to add one.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from server.domain.attribute import Value
from server.domain.clock import microseconds_of
from server.domain.decision import Decision
from server.domain.journal import IdentifiersLinked
from server.domain.profile import AttributeUpdates, ConsentUpdate, Event, ProfileDelta
from tests.support.catalogs import Document
from tests.support.clock import NOON, NOON_US
from tests.support.models import FakeModel, appeal, fails
from tests.support.service import SOURCE, Service, offer_ids

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*.yaml"))
SCORES = {"appeal": appeal, "failing": fails}


class Happened(BaseModel):
    """An event of a customer, or an answer, and when it was."""

    model_config = ConfigDict(extra="forbid")
    at: datetime
    event: str = ""
    properties: dict[str, Any] = {}
    consents: dict[str, bool] = {}


class Customer(BaseModel):
    """What is known about a customer before the question."""

    model_config = ConfigDict(extra="forbid")
    set: dict[str, Any] = {}
    append: dict[str, list[str]] = {}
    consents: dict[str, bool] = {}
    events: list[Happened] = []


class Expected(BaseModel):
    """The parts of the decision that the case is about; what it leaves out may be anything."""

    model_config = ConfigDict(extra="forbid")
    offers: list[str]
    result: str = "RANKED"
    rung: str = "FULL"
    excluded: dict[str, tuple[str, str]] = {}
    creatives: dict[str, str] = {}
    expected_values: dict[str, float] = {}


class Case(BaseModel):
    """One file."""

    model_config = ConfigDict(extra="forbid")
    about: str
    model: str | None = None
    catalog: Document
    customers: dict[str, Customer] = {}
    links: list[tuple[str, str]] = []
    query: dict[str, Any]
    expect: Expected


@pytest.mark.parametrize("order", ["as written", "reversed"])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_decision_is_the_expected_one_in_any_order_of_the_file(file: Path, order: str) -> None:
    case = Case.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    if order == "reversed":
        case.catalog["offers"].reverse()
    service = service_of(case)

    decision = service.rank(full_view=True, **query_of(case.query))

    expected = case.expect
    assert offer_ids(decision) == expected.offers
    assert decision.result.name == expected.result
    assert decision.rung.name == expected.rung
    assert_excluded(decision, expected.excluded)
    assert {o.offer_id: o.creative_id for o in decision.offers} | expected.creatives == {
        o.offer_id: o.creative_id for o in decision.offers
    }
    found = {o.offer_id: o.expected_value for o in decision.offers}
    assert {offer: found[offer] for offer in expected.expected_values} == pytest.approx(
        expected.expected_values, abs=1e-5
    )


def test_there_are_cases() -> None:
    assert len(FILES) >= 20


def service_of(case: Case) -> Service:
    """A service that knows the case's catalog, model and customers."""
    models = [FakeModel(SCORES[case.model])] if case.model else []
    service = Service(case.catalog, *models)
    for customer_id, customer in case.customers.items():
        values = {name: value_of(value) for name, value in customer.set.items()}
        members = {name: tuple(names) for name, names in customer.append.items()}
        changes: list[AttributeUpdates | ConsentUpdate] = [AttributeUpdates(set=values, append=members)]
        changes += [ConsentUpdate(purpose, granted) for purpose, granted in customer.consents.items()]
        deltas = [ProfileDelta(customer_id, NOON_US, change) for change in changes]
        deltas += [delta for happened in customer.events for delta in deltas_of(customer_id, happened)]
        applied = service.apply_deltas(SOURCE, 0, deltas)
        assert not applied.rejected, applied.rejected[0].error.message
    for link in case.links:
        service.writer.write(IdentifiersLinked(NOON_US, *link))
    return service


def deltas_of(customer_id: str, happened: Happened) -> Iterator[ProfileDelta]:
    """What happened as deltas of its own time."""
    time_us = microseconds_of(happened.at)
    if happened.event:
        properties = {name: value_of(value) for name, value in happened.properties.items()}
        yield ProfileDelta(customer_id, time_us, Event(happened.event, properties))
    for purpose, granted in happened.consents.items():
        yield ProfileDelta(customer_id, time_us, ConsentUpdate(purpose, granted))


def query_of(query: Mapping[str, Any]) -> dict[str, Any]:
    """The query as `Service.rank` takes it; without a time it is noon of 22 November 2026, UTC."""
    arguments = {"time": NOON, **query}
    arguments["context"] = {name: value_of(value) for name, value in query.get("context", {}).items()}
    arguments["candidate_offer_ids"] = tuple(query.get("candidate_offer_ids", ()))
    return arguments


def value_of(value: Any) -> Value:
    """A value of YAML as a profile or a context takes it."""
    if isinstance(value, list):
        return tuple(value)
    assert isinstance(value, bool | str | int | float | datetime)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def assert_excluded(decision: Decision, excluded: Mapping[str, tuple[str, str]]) -> None:
    """Each of these offers is excluded, once, for the reason and with the words."""
    assert decision.explanation is not None
    for offer_id, (reason, words) in excluded.items():
        found = [e for e in decision.explanation.exclusions if e.offer_id == offer_id]
        assert [e.reason.name for e in found] == [reason], offer_id
        assert words in found[0].detail
