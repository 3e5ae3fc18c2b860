"""What was shown and reported, as a plain list, and what caps and budgets say of it by their definitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.domain.contact import REACHED, ContactKind

HOLD_US = 15 * 60 * 1_000_000
UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
HELD = (ContactKind.IMPRESSION, ContactKind.CLICK, ContactKind.ACCEPTED, ContactKind.CONVERTED)

Entry = Mapping[str, Any]
"""A cap, a budget, an offer … as the catalog file has it."""


def duration_us(text: str) -> int:
    """The microseconds of a duration."""
    return round(float(text[:-1]) * UNITS_US[text[-1]])


def kind_of(entry: Entry, default: str) -> ContactKind:
    """What a cap or a budget counts."""
    return ContactKind[str(entry.get("on", default)).upper()]


@dataclass
class Contact:
    """One offer that one customer was shown, or that an outcome without decision was about.

    `meters` are the amounts that it takes of what everybody shares, by what the catalog had then.
    """

    customer_id: str
    household: str
    offer: Entry
    channel: str
    decided_us: int | None
    number: int = 0
    slot: int = 0
    tag: int = 0
    meters: Mapping[str, float] = field(default_factory=dict)
    reached_us: dict[ContactKind, int] = field(default_factory=dict)

    def report(self, kind: ContactKind, event_us: int, received_us: int) -> None:
        """An outcome."""
        time_us = min(event_us, received_us)
        if self.decided_us is not None:
            time_us = max(time_us, self.decided_us)
        for stage in REACHED[kind]:
            self.reached_us.setdefault(stage, time_us)

    def counts(self, kind: ContactKind, window_us: int | None, now_us: int) -> bool:
        """Whether it counts at a time: it happened within the window, or a decision still holds it."""
        time_us = self.decided_us if kind is ContactKind.DECISION else self.reached_us.get(kind)
        if time_us is not None:
            return window_us is None or time_us > now_us - window_us
        return kind in HELD and self.decided_us is not None and self.decided_us + HOLD_US > now_us


def key_of(of: str, offer: Entry, channel: str) -> str | None:
    """What a scope puts contacts together by; None if nothing."""
    keys = {
        "offer": offer["id"],
        "exclusion_group": offer.get("exclusion_group") or None,
        "tactic": offer["tactic"],
        "channel": channel,
        "all": "",
    }
    found: str | None = keys[of]
    return found


def meter_of(cap: Entry, key: str) -> str:
    """The name of what a cap of everybody counts."""
    return f"{cap['of']}/{key}/{cap['on']}"


class Policy:
    """The caps and budgets of a catalog file, each with the offers that it holds back."""

    def __init__(self, document: Entry) -> None:
        self.offers: dict[str, Entry] = {offer["id"]: offer for offer in document["offers"]}
        self.budgets: Sequence[Entry] = document.get("budgets", ())
        self.caps: list[tuple[Entry, set[str], str]] = []
        for offer in document["offers"]:
            for cap in offer.get("caps", ()):
                self.caps.append((cap, {offer["id"]}, ""))
        for rule in document.get("rules", ()):
            self.caps.append((rule["effect"]["cap"], set(self.offers), rule.get("when", "")))

    def takes(self, offer: Entry, channel: str) -> dict[str, float]:
        """What a decision for an offer takes of what everybody shares."""
        taken = {budget["id"]: _amount(budget, offer) for budget in self.budgets}
        for cap, _, _ in self.caps:
            key = key_of(cap["of"], offer, channel)
            if cap["per"] == "global" and key is not None and self._is_carried(cap, key, channel):
                taken[meter_of(cap, key)] = 1
        return taken

    def _is_carried(self, cap: Entry, key: str, channel: str) -> bool:
        return any(
            other == cap and key_of(cap["of"], self.offers[name], channel) == key
            for other, names, _ in self.caps
            for name in names
        )


def _amount(budget: Entry, offer: Entry) -> float:
    amount: float = 1 if budget["unit"] == "count" else offer["value"]["cost"]
    return amount


@dataclass
class Asker:
    """Who asks, and for what: everything that a cap may depend on."""

    identifiers: set[str]
    household: str
    lifts: bool
    now_us: int


class ContactLog:
    """The list."""

    def __init__(self) -> None:
        self.contacts: list[Contact] = []

    def exceeding(
        self, policy: Policy, asker: Asker, offer: Entry, channel: str, shown: Sequence[Contact]
    ) -> list[str]:
        """The caps and budgets that one more contact would exceed, after those that the same decision shows already."""
        found = []
        for cap, carriers, when in policy.caps:
            key = key_of(cap["of"], offer, channel)
            if offer["id"] not in carriers or key is None or (when and asker.lifts):
                continue
            kind = kind_of(cap, "impression")
            used = self._used(cap, kind, key, asker)
            if kind is not ContactKind.DECLINED:
                used += sum(key_of(cap["of"], each.offer, each.channel) == key for each in shown)
                used += 1
            else:
                # Nobody hopes for a refusal: only those that came count.
                used += 1
            if used > cap["count"]:
                found.append("CAP")
        for budget in policy.budgets:
            amount = _amount(budget, offer)
            kind, window_us = kind_of(budget, "accepted"), _window(budget)
            used_amount = sum(
                each.meters.get(budget["id"], 0) for each in self.contacts if each.counts(kind, window_us, asker.now_us)
            ) + sum(_amount(budget, each.offer) for each in shown)
            if amount and used_amount + amount > budget["limit"]:
                found.append("BUDGET")
        return found

    def _used(self, cap: Entry, kind: ContactKind, key: str, asker: Asker) -> int:
        window_us = duration_us(cap["window"])
        counted: Iterable[Contact] = (each for each in self.contacts if each.counts(kind, window_us, asker.now_us))
        if cap["per"] == "global":
            return sum(meter_of(cap, key) in each.meters for each in counted)
        if cap["per"] == "household" and asker.household:
            # A member's own count too: nobody may have known of the household then.
            counted = (
                each for each in counted if each.customer_id in asker.identifiers or each.household == asker.household
            )
        else:
            counted = (each for each in counted if each.customer_id in asker.identifiers)
        return sum(key_of(cap["of"], each.offer, each.channel) == key for each in counted)


def _window(entry: Entry) -> int | None:
    return duration_us(entry["window"]) if entry.get("window") else None
