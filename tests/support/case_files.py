"""The format of the golden decisions in `tests/cases`, which `tests/cases/README.md` describes."""

import re
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

from tests.support.catalogs import Document

ModelKind = Literal["appeal", "failing", "late", "slow"]


class _Part(BaseModel):
    """What the format does not have is a mistake in the file."""

    model_config = ConfigDict(extra="forbid")


class Happened(_Part):
    """An event of a customer, or an answer, and when it was."""

    at: datetime
    event: str = ""
    properties: dict[str, Any] = {}
    consents: dict[str, bool] = {}


class Customer(_Part):
    """What is known about a customer."""

    set: dict[str, Any] = {}
    append: dict[str, list[str]] = {}
    consents: dict[str, bool] = {}
    events: list[Happened] = []


class ReportedOutcome(_Part):
    """What became of an offer. `by` says how the decision is told: by the token that it gave, or by the customer."""

    kind: Literal["impression", "click", "accepted", "declined", "converted"]
    offer: str
    customer_id: str
    by: Literal["token", "customer"] = "token"
    placement_id: str = ""
    revenue: float = 0.0
    profit: float = 0.0
    id: str = ""


class Step(_Part):
    """One thing that happened before the question. `expect` and `rung` check a ranking, `becomes` an outcome."""

    at: datetime
    rank: dict[str, Any] | None = None
    outcome: ReportedOutcome | None = None
    link: tuple[str, str] | None = None
    unlink: tuple[str, str] | None = None
    customers: dict[str, Customer] | None = None
    publish: Document | None = None
    model: ModelKind | None = None
    expect: list[str] | None = None
    rung: str = ""
    becomes: str = ""

    @model_validator(mode="after")
    def _one(self) -> "Step":
        kinds = (self.rank, self.outcome, self.link, self.unlink, self.customers, self.publish, self.model)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("a step is one of rank, outcome, link, unlink, customers, publish and model")
        if self.rank is None and (self.expect is not None or self.rung):
            raise ValueError("only a ranking has offers to expect, and a rung")
        if self.outcome is None and self.becomes:
            raise ValueError("only an outcome becomes something")
        return self


class Expected(_Part):
    """The parts of the decision that the case is about; what it leaves out may be anything."""

    offers: list[str]
    result: str = "RANKED"
    rung: str = "FULL"
    placements: dict[str, list[str]] | None = None
    excluded: dict[str, tuple[str, str]] = {}
    creatives: dict[str, str] = {}
    expected_values: dict[str, float] = {}
    content: dict[str, dict[str, str]] = {}


class Case(_Part):
    """One file."""

    about: str
    model: ModelKind | None = None
    catalog: Document
    customers: dict[str, Customer] = {}
    links: list[tuple[str, str]] = []
    before: list[Step] = []
    query: dict[str, Any]
    expect: Expected

    @model_validator(mode="after")
    def _in_order(self) -> "Case":
        times = [step.at for step in self.before]
        if times != sorted(times):
            raise ValueError("what happened before is in order of time")
        return self


class _CaseLoader(yaml.SafeLoader):
    """Reads truth values as YAML 1.2 does: `on` is a text, as caps and budgets have a key of that name."""


_CaseLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_CaseLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def read_case(file: Path) -> Case:
    """The case in a file."""
    return Case.model_validate(yaml.load(file.read_text(encoding="utf-8"), Loader=_CaseLoader))


def reversed_case(case: Case) -> Case:
    """The same with the offers of every catalog in reverse order."""
    documents = [case.catalog, *(step.publish for step in case.before if step.publish)]
    for document in documents:
        if "offers" in document:
            document["offers"] = document["offers"][::-1]
    return case
