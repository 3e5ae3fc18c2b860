"""The entries of the catalog file: what each may say, and the domain type that it becomes."""

import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from server.domain.aggregate import MAX_WINDOW_DAYS, Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule
from server.domain.identifier import ID_PATTERN
from server.domain.identity import DEFAULT_MAX_IDENTIFIERS, IdentityPolicy
from server.domain.matching import Form, MatchPart, MatchRule
from server.domain.offer import Creative, Offer, OfferValue
from server.domain.placement import Placement


class Entry(BaseModel):
    """What an entry may not say is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _to_time(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is not a date or time such as 2017-08-01 or 2017-08-01T09:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _to_milliseconds(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 150ms or 0.5s")
    return float(match[1]) * (1_000 if match[2] == "s" else 1)


def _to_days(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(d|h)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 30d or 12h")
    return float(match[1]) / (24 if match[2] == "h" else 1)


_Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Time = Annotated[datetime | None, BeforeValidator(_to_time)]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
_Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class AttributeEntry(Entry):
    """An attribute of customers or contexts."""

    id: _Name
    type: Literal["number", "boolean", "category", "set", "timestamp_age", "text"]
    values: list[_Text] = Field(default=[], max_length=10_000)
    by: _Name | None = None
    keys: list[_Id] = []
    purpose: _Id | None = None
    merge: Literal["latest", "max", "sum", "union"] | None = None

    @model_validator(mode="after")
    def _merges(self) -> "AttributeEntry":
        allowed = {"number": ("latest", "max", "sum"), "timestamp_age": ("latest", "max"), "set": ("latest", "union")}
        if self.merge not in (None, *allowed.get(self.type, ("latest",))):
            raise ValueError(f"a {self.type} cannot be merged by {self.merge}")
        return self


class AggregateEntry(Entry):
    """An attribute of customers that is kept up to date from events."""

    id: _Name
    event: _Text
    op: Literal["count", "sum", "last", "decayed_sum"]
    property: _Name | None = None
    window: Annotated[float, BeforeValidator(_to_days)] | None = None
    half_life: Annotated[float, BeforeValidator(_to_days), Field(gt=0, le=36_500)] | None = None
    by: _Name | None = None
    keys: list[_Id] = []
    purpose: _Id | None = None

    @model_validator(mode="after")
    def _fits(self) -> "AggregateEntry":
        sums = self.op in ("sum", "decayed_sum")
        if sums is not (self.property is not None):
            raise ValueError(f"{self.op} {'needs' if sums else 'takes no'} property")
        if (self.op == "decayed_sum") is not (self.half_life is not None):
            raise ValueError(f"{self.op} {'needs' if self.op == 'decayed_sum' else 'takes no'} half_life")
        if self.window is not None and self.op not in ("count", "sum"):
            raise ValueError(f"{self.op} takes no window")
        if self.window is not None and not (self.window.is_integer() and 1 <= self.window <= MAX_WINDOW_DAYS):
            raise ValueError(f"window: 1 to {MAX_WINDOW_DAYS} whole days")
        return self


class MatchPartEntry(Entry):
    """One text that must agree for a rule to match."""

    attribute: _Name
    form: Annotated[str, StringConstraints(max_length=32)]
    first: Annotated[int, Field(ge=1, le=64)] | None = None

    @field_validator("form")
    @classmethod
    def _known(cls, form: str) -> str:
        if form not in [known.value for known in Form]:
            raise ValueError(f"is none of {', '.join(Form)}")
        return form


class MatchRuleEntry(Entry):
    """Texts that make two identifiers one customer's if all of them agree."""

    id: _Id
    parts: list[MatchPartEntry] = Field(min_length=1, max_length=16)


class IdentityEntry(Entry):
    """How identifiers are joined."""

    max_identifiers: Annotated[int, Field(ge=2, le=1_000)] = DEFAULT_MAX_IDENTIFIERS
    match: list[MatchRuleEntry] = Field(default=[], max_length=64)


class OfferAttributeEntry(Entry):
    """An attribute of offers that needs declaring."""

    id: _Name
    type: Literal["number", "boolean", "category", "set"]
    values: list[_Text] = Field(default=[], max_length=10_000)


class ValueEntry(Entry):
    """What an offer brings."""

    revenue: _Amount
    margin: Annotated[float, Field(ge=0, le=1)]
    cost: _Amount = 0.0


class ScheduleEntry(Entry):
    """When an offer runs."""

    start: _Time = None
    end: _Time = None


class CreativeEntry(Entry):
    """How an offer is shown."""

    id: _Id
    channel: _Id
    locale: Annotated[str, StringConstraints(max_length=35)] = ""
    content: dict[_Name, Annotated[str, StringConstraints(max_length=16_384)]] = {}


class OfferEntry(Entry):
    """An offer."""

    id: _Id
    tactic: _Text
    value: ValueEntry
    attributes: dict[_Name, bool | _Number | _Text | list[_Text]] = {}
    eligible: Annotated[str, StringConstraints(max_length=65_536)] = ""
    schedule: ScheduleEntry = ScheduleEntry()
    channels: list[_Id] = []
    creatives: list[CreativeEntry] = []


class PlacementEntry(Entry):
    """Where answers are shown."""

    id: _Id
    channel: Annotated[tuple[_Id, ...], BeforeValidator(_to_tuple), Field(min_length=1)]
    slots: Annotated[int, Field(ge=1, le=100)]
    model: Annotated[str, StringConstraints(pattern=rf"^({ID_PATTERN}/{ID_PATTERN})?$")] = ""
    objective: Literal["expected_value"] = "expected_value"
    fallback_offers: list[_Id] = []
    deadline: Annotated[float, BeforeValidator(_to_milliseconds), Field(gt=0)] | None = None
    enabled: bool = True


class Header(Entry):
    """Everything that is not in a section of its own."""

    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    description: str = ""
    identity: IdentityEntry = IdentityEntry()
    assumptions: dict[str, Any] = {}


def attribute_of(entry: AttributeEntry | OfferAttributeEntry) -> Attribute:
    """The attribute that an entry declares."""
    type_ = AttributeType(entry.type)
    if isinstance(entry, OfferAttributeEntry):
        return Attribute(entry.id, type_, tuple(entry.values))
    default = MergeRule.UNION if type_ is AttributeType.SET else MergeRule.LATEST
    merge = MergeRule(entry.merge) if entry.merge else default
    return Attribute(entry.id, type_, tuple(entry.values), entry.by, tuple(entry.keys), entry.purpose, merge)


def aggregate_of(entry: AggregateEntry) -> Attribute:
    """The attribute that an aggregate is."""
    last = entry.op == "last"
    aggregate = Aggregate(
        entry.event, Operation(entry.op), entry.property or "", int(entry.window or 0), entry.half_life or 0.0
    )
    return Attribute(
        id=entry.id,
        type=AttributeType.TIMESTAMP_AGE if last else AttributeType.NUMBER,
        by=entry.by,
        keys=tuple(entry.keys),
        purpose=entry.purpose,
        merge=MergeRule.MAX if last else MergeRule.SUM,
        aggregate=aggregate,
    )


def identity_of(entry: IdentityEntry) -> IdentityPolicy:
    """How a catalog joins identifiers."""
    rules = (
        MatchRule(rule.id, tuple(MatchPart(part.attribute, Form(part.form), part.first) for part in rule.parts))
        for rule in entry.match
    )
    return IdentityPolicy(entry.max_identifiers, tuple(rules))


def offer_of(entry: OfferEntry) -> Offer:
    """The offer that an entry describes."""
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.attributes.items()}
    return Offer(
        id=entry.id,
        tactic=entry.tactic,
        value=OfferValue(entry.value.revenue, entry.value.margin, entry.value.cost),
        attributes=attributes,
        eligible=entry.eligible,
        start=entry.schedule.start,
        end=entry.schedule.end,
        channels=tuple(entry.channels),
        creatives=tuple(Creative(c.id, c.channel, c.locale, c.content) for c in entry.creatives),
    )


def placement_of(entry: PlacementEntry) -> Placement:
    """The placement that an entry describes."""
    return Placement(
        id=entry.id,
        channels=entry.channel,
        slots=entry.slots,
        model=entry.model,
        fallback_offers=tuple(entry.fallback_offers),
        deadline_ms=entry.deadline,
        enabled=entry.enabled,
    )
