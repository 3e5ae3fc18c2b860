"""The entries of the catalog file: what each may say, and the domain type that it becomes."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from server.domain.aggregate import MAX_WINDOW_DAYS, Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule
from server.domain.identifier import ID_PATTERN
from server.domain.identity import DEFAULT_MAX_IDENTIFIERS, IdentityPolicy
from server.domain.matching import Form, MatchPart, MatchRule
from server.domain.offer import Creative, Offer, OfferValue
from server.domain.placement import Diversity, Placement
from server.intelligence.catalog_kinds import (
    Amount,
    Condition,
    Entry,
    Id,
    Name,
    Number,
    Text,
    Time,
    to_days,
    to_milliseconds,
    to_tuple,
)
from server.intelligence.policy_entries import (
    CapEntry,
    ContactsEntry,
    CooldownEntry,
    TimeZoneEntry,
    cap_of,
    cooldown_of,
)


class AttributeEntry(Entry):
    """An attribute of customers or contexts."""

    id: Name
    type: Literal["number", "boolean", "category", "set", "timestamp_age", "text", "key"]
    values: list[Text] = Field(default=[], max_length=10_000)
    by: Name | None = None
    keys: list[Id] = []
    purpose: Id | None = None
    merge: Literal["latest", "max", "sum", "union"] | None = None
    content: bool = False

    @model_validator(mode="after")
    def _merges(self) -> "AttributeEntry":
        allowed = {"number": ("latest", "max", "sum"), "timestamp_age": ("latest", "max"), "set": ("latest", "union")}
        if self.merge not in (None, *allowed.get(self.type, ("latest",))):
            raise ValueError(f"a {self.type} cannot be merged by {self.merge}")
        return self


class AggregateEntry(Entry):
    """An attribute of customers that is kept up to date from events."""

    id: Name
    event: Text
    op: Literal["count", "sum", "last", "decayed_sum"]
    property: Name | None = None
    window: Annotated[float, BeforeValidator(to_days)] | None = None
    half_life: Annotated[float, BeforeValidator(to_days), Field(gt=0, le=36_500)] | None = None
    by: Name | None = None
    keys: list[Id] = []
    purpose: Id | None = None
    content: bool = False

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

    attribute: Name
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

    id: Id
    parts: list[MatchPartEntry] = Field(min_length=1, max_length=16)


class IdentityEntry(Entry):
    """How identifiers are joined."""

    max_identifiers: Annotated[int, Field(ge=2, le=1_000)] = DEFAULT_MAX_IDENTIFIERS
    match: list[MatchRuleEntry] = Field(default=[], max_length=64)


class OfferAttributeEntry(Entry):
    """An attribute of offers that needs declaring."""

    id: Name
    type: Literal["number", "boolean", "category", "set"]
    values: list[Text] = Field(default=[], max_length=10_000)


class ValueEntry(Entry):
    """What an offer brings."""

    revenue: Amount
    margin: Annotated[float, Field(ge=0, le=1)]
    cost: Amount = 0.0


class ScheduleEntry(Entry):
    """When an offer runs."""

    start: Time = None
    end: Time = None


class CreativeEntry(Entry):
    """How an offer is shown."""

    id: Id
    channel: Id
    locale: Annotated[str, StringConstraints(max_length=35)] = ""
    content: dict[Name, Annotated[str, StringConstraints(max_length=16_384)]] = {}


class OfferEntry(Entry):
    """An offer."""

    id: Id
    tactic: Text
    value: ValueEntry
    attributes: dict[Name, bool | Number | Text | list[Text]] = {}
    eligible: Condition = ""
    schedule: ScheduleEntry = ScheduleEntry()
    channels: list[Id] = []
    creatives: list[CreativeEntry] = []
    exclusion_group: Annotated[str, StringConstraints(pattern=f"^({ID_PATTERN})?$")] = ""
    caps: list[CapEntry] = Field(default=[], max_length=16)
    cooldown: CooldownEntry | None = None
    purpose: Annotated[str, StringConstraints(pattern=f"^({ID_PATTERN})?$")] = ""


class DiversityEntry(Entry):
    """How alike the offers of an answer may be."""

    by: Name
    max: Annotated[int, Field(ge=1)]


class PlacementEntry(Entry):
    """Where answers are shown."""

    id: Id
    channel: Annotated[tuple[Id, ...], BeforeValidator(to_tuple), Field(min_length=1)]
    slots: Annotated[int, Field(ge=1, le=100)]
    model: Annotated[str, StringConstraints(pattern=rf"^({ID_PATTERN}/{ID_PATTERN})?$")] = ""
    objective: Literal["expected_value"] = "expected_value"
    fallback_offers: list[Id] = []
    deadline: Annotated[float, BeforeValidator(to_milliseconds), Field(gt=0)] | None = None
    enabled: bool = True
    max_per_group: Annotated[int, Field(ge=1)] = 1
    diversity: list[DiversityEntry] = Field(default=[], max_length=8)


class Header(Entry):
    """Everything that is not in a section of its own."""

    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    description: str = ""
    identity: IdentityEntry = IdentityEntry()
    contacts: ContactsEntry = ContactsEntry()
    time_zone: TimeZoneEntry = TimeZoneEntry()
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
        exclusion_group=entry.exclusion_group,
        caps=(*map(cap_of, entry.caps), *([cooldown_of(entry.cooldown)] if entry.cooldown else [])),
        purpose=entry.purpose,
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
        max_per_group=entry.max_per_group,
        diversity=tuple(Diversity(each.by, each.max) for each in entry.diversity),
    )
