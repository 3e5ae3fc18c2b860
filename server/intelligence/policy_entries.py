"""The entries of the catalog file that say what may not happen, or what counts more: caps, budgets, rules, hours."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from server.domain.budget import Budget, BudgetUnit
from server.domain.cap import MAX_WINDOW_DAYS, Cap, CapSubject
from server.domain.channel import Channel
from server.domain.contact import ContactKind, ContactScope
from server.domain.content import ChannelKind
from server.domain.identifier import ID_PATTERN
from server.domain.quiet_hours import MINUTES_PER_DAY, QuietHours, TimeZones
from server.domain.rule import Lever, Rule
from server.intelligence.catalog_kinds import Condition, Entry, Id, Text, Time, to_microseconds, to_minutes

_DAY_US = 86_400_000_000
_Window = Annotated[int, BeforeValidator(to_microseconds), Field(ge=1_000_000, le=MAX_WINDOW_DAYS * _DAY_US)]
_Minute = Annotated[int, BeforeValidator(to_minutes)]
_Multiplier = Annotated[float, Field(allow_inf_nan=False, gt=0, le=1_000)]
_Kind = Literal["decision", "impression", "click", "accepted", "declined", "converted"]
_Scope = Literal["offer", "exclusion_group", "tactic", "channel", "all"]
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class CapEntry(Entry):
    """How often customers may be contacted."""

    count: Annotated[int, Field(ge=1, le=1_000_000_000)]
    window: _Window
    per: Literal["customer", "household", "global"] = "customer"
    of: _Scope = "offer"
    on: _Kind = "impression"


class CooldownEntry(Entry):
    """How long an offer that was declined stays away."""

    window: _Window
    of: _Scope = "offer"
    after: _Kind = "declined"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"window": value} if isinstance(value, str) else value


class ContactsEntry(Entry):
    """How contacts are kept."""

    hold: Annotated[int, BeforeValidator(to_microseconds), Field(ge=1_000_000, le=_DAY_US)] = 15 * 60 * 1_000_000
    attribution: _Window = 7 * _DAY_US
    household: Annotated[str, StringConstraints(max_length=128)] = ""


class TimeZoneEntry(Entry):
    """Where customers are."""

    attribute: Annotated[str, StringConstraints(max_length=128)] = ""
    candidates: list[Text] = Field(default=[], max_length=600)


class ChannelEntry(Entry):
    """What a channel asks for."""

    id: Id
    content: Literal["html", "text", "json"] = "html"
    purpose: Annotated[str, StringConstraints(pattern=f"^({ID_PATTERN})?$")] = ""


class QuietHoursEntry(Entry):
    """When channels are silent."""

    id: Id
    start: Annotated[_Minute, Field(alias="from")]
    end: Annotated[_Minute, Field(alias="to")]
    channels: list[Id] = []
    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = []

    @model_validator(mode="after")
    def _lasts(self) -> "QuietHoursEntry":
        if self.start % MINUTES_PER_DAY == self.end % MINUTES_PER_DAY and not (self.start == 0 and self.end):
            raise ValueError("from and to are the same")
        return self


class BudgetEntry(Entry):
    """A limit for all customers together."""

    id: Id
    offers: Condition = ""
    limit: Annotated[float, Field(allow_inf_nan=False, ge=0, le=1e12)]
    window: _Window | None = None
    unit: Literal["count", "currency"] = "count"
    on: Literal["decision", "impression", "click", "accepted", "converted"] = "accepted"


class EffectEntry(Entry):
    """What a rule does: one of these."""

    exclude: bool = False
    boost: _Multiplier | None = None
    cap: CapEntry | None = None
    pin: Annotated[int, Field(ge=1, le=100)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"exclude": True} if value == "exclude" else value

    @model_validator(mode="after")
    def _one(self) -> "EffectEntry":
        if self.exclude + sum(each is not None for each in (self.boost, self.cap, self.pin)) != 1:
            raise ValueError("an effect is exclude, or one of boost, cap and pin")
        return self


class RuleEntry(Entry):
    """What holds for many offers."""

    id: Id
    when: Condition = ""
    offers: Condition = ""
    effect: EffectEntry


class LeverEntry(Entry):
    """What makes offers count for more, or less."""

    id: Id
    multiplier: _Multiplier
    offers: Condition = ""
    by: Annotated[str, StringConstraints(max_length=256)] = ""
    at: Time = None
    reason: Annotated[str, StringConstraints(max_length=4_096)] = ""


def cap_of(entry: CapEntry) -> Cap:
    """The cap that an entry describes."""
    return Cap(entry.count, entry.window, CapSubject(entry.per), ContactScope(entry.of), ContactKind[entry.on.upper()])


def cooldown_of(entry: CooldownEntry) -> Cap:
    """The cap that a cool-down is: one such outcome is one too many."""
    return Cap(1, entry.window, CapSubject.CUSTOMER, ContactScope(entry.of), ContactKind[entry.after.upper()])


def budget_of(entry: BudgetEntry) -> Budget:
    """The budget that an entry describes."""
    unit, on = BudgetUnit(entry.unit), ContactKind[entry.on.upper()]
    return Budget(entry.id, entry.offers.strip(), entry.limit, entry.window or 0, unit, on)


def rule_of(entry: RuleEntry) -> Rule:
    """The rule that an entry describes."""
    when, offers, effect = entry.when.strip(), entry.offers.strip(), entry.effect
    cap = None if effect.cap is None else cap_of(effect.cap)
    return Rule(entry.id, when, offers, exclude=effect.exclude, boost=effect.boost, cap=cap, pin=effect.pin)


def lever_of(entry: LeverEntry) -> Lever:
    """The lever that an entry describes."""
    return Lever(entry.id, entry.multiplier, entry.offers.strip(), entry.by, entry.at, entry.reason)


def channel_of(entry: ChannelEntry) -> Channel:
    """The channel that an entry describes."""
    return Channel(entry.id, ChannelKind(entry.content), entry.purpose)


def quiet_hours_of(entry: QuietHoursEntry) -> QuietHours:
    """The quiet hours that an entry describes."""
    days = tuple(_WEEKDAYS.index(day) for day in entry.days)
    return QuietHours(entry.start, entry.end, tuple(entry.channels), days)


def time_zones_of(entry: TimeZoneEntry) -> TimeZones:
    """Where the entry says that customers are."""
    return TimeZones(entry.attribute, tuple(entry.candidates))
