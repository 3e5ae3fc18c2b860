"""Compiles what a catalog says beside each offer's own condition: rules, levers, caps, budgets, consents and hours."""

from collections.abc import Sequence

import numpy as np

from server.domain.attribute import AttributeType, BoolRow, Schema
from server.domain.budget import Budget
from server.domain.cap import Cap, CapSubject
from server.domain.catalog import Catalog, Problem
from server.domain.contact import ContactScope
from server.domain.errors import OpportuneError
from server.domain.offer_table import OfferTable
from server.domain.rule import Rule
from server.execution.policy import ALWAYS, Boost, ChannelPolicy, Pin, Policy, PurposeOffers
from server.intelligence.caps import compile_families
from server.intelligence.conditions.condition_set import ConditionSet
from server.intelligence.conditions.requirement import Requirement
from server.intelligence.conditions.vocabulary import Vocabulary
from server.intelligence.eligibility import pack
from server.intelligence.meter_limits import compile_meter_limits
from server.intelligence.offer_filter import OfferFilter
from server.intelligence.quiet import QuietClock, zone_problems


def exclusions_of(catalog: Catalog, table: OfferTable) -> tuple[list[list[Requirement]], list[Problem]]:
    """For each offer, what rules require of customer and context: that what excludes it definitely does not hold."""
    selector = _Selector(table)
    requirements: list[list[Requirement]] = [[] for _ in table.offers]
    for place, rule in enumerate(catalog.rules):
        if not rule.exclude:
            continue
        words = f"excluded by rule {rule.id}: {rule.when or 'always'}"
        requirement = Requirement(f"rules[{place}].when", rule.when or "true", False, words)
        for offer in selector.places(f"rules[{place}].offers", rule.offers):
            requirements[offer].append(requirement)
    return requirements, selector.problems


def compile_policy(
    catalog: Catalog, table: OfferTable, customer: Schema, vocabulary: Vocabulary, channels: Sequence[str]
) -> tuple[Policy, list[Problem]]:
    """The policy of a catalog for these channels; with a problem it is not to be used."""
    compiler = _PolicyCompiler(catalog, table, customer, vocabulary)
    return compiler.policy(channels), compiler.problems


class _Selector:
    """Finds the offers that conditions over `offer.*` take."""

    def __init__(self, table: OfferTable) -> None:
        self._filter = OfferFilter(table)
        self._size = len(table)
        self.problems: list[Problem] = []

    def mask(self, path: str, text: str) -> BoolRow:
        """The offers of a condition, bool [offers]; none if it has a problem."""
        if not text:
            return np.ones(self._size, np.bool_)
        try:
            return self._filter.mask(text)
        except OpportuneError as error:
            self.problems += [Problem(path, violation.description) for violation in error.violations]
            return np.zeros(self._size, np.bool_)

    def places(self, path: str, text: str) -> list[int]:
        """The same as places."""
        found: list[int] = self.mask(path, text).nonzero()[0].tolist()
        return found


class _PolicyCompiler:
    def __init__(self, catalog: Catalog, table: OfferTable, customer: Schema, vocabulary: Vocabulary) -> None:
        self._catalog = catalog
        self._table = table
        self._customer = customer
        self._vocabulary = vocabulary
        self._selector = _Selector(table)
        self._requirements: list[Requirement] = []
        self.problems: list[Problem] = []

    def policy(self, channels: Sequence[str]) -> Policy:
        """The whole policy."""
        catalog, table = self._catalog, self._table
        caps = self._caps()
        budgets = [
            (budget, self._selector.mask(f"budgets[{place}].offers", budget.offers))
            for place, budget in enumerate(catalog.budgets)
        ]
        boosts, pins, levers = self._boosts(), self._pins(), self._levers()
        conditions, problems = ConditionSet.compile(self._requirements, self._vocabulary)
        group_ids = tuple(dict.fromkeys(offer.exclusion_group for offer in table.offers if offer.exclusion_group))
        numbers = {group: number for number, group in enumerate(group_ids)}
        self._check_entries(channels)
        self.problems += problems + self._quiet_problems()
        self.problems += [problem for problem in self._selector.problems if not _is_exclusion(catalog.rules, problem)]
        return Policy(
            channels={channel: self._channel(channel, caps, budgets) for channel in channels},
            worth=table.profit * levers,
            groups=np.array([numbers.get(offer.exclusion_group, -1) for offer in table.offers], np.intp),
            group_ids=group_ids,
            conditions=conditions,
            boosts=boosts,
            pins=pins,
            quiet=self._quiet(),
            zone_column=self._customer.columns.get(catalog.time_zones.attribute, -1),
            purposes=tuple(self._purposes()),
            household=catalog.household,
        )

    def _condition(self, path: str, text: str, holds: bool = True) -> int:
        """The place of a condition among those that decisions ask, or `ALWAYS`."""
        if not text:
            return ALWAYS
        self._requirements.append(Requirement(path, text, holds))
        return len(self._requirements) - 1

    def _caps(self) -> list[tuple[Cap, BoolRow, int]]:
        """Each distinct cap with its carriers, and the place of the condition that lifts it."""
        carriers: dict[tuple[Cap, int], BoolRow] = {}
        size = len(self._table)
        for place, offer in enumerate(self._table.offers):
            for number, cap in enumerate(offer.caps):
                if cap.of is ContactScope.EXCLUSION_GROUP and not offer.exclusion_group:
                    problem = "the offer is in no exclusion group, so the cap would never hold it back"
                    self.problems.append(Problem(f"offers[{place}].caps[{number}].of", problem))
                carriers.setdefault((cap, ALWAYS), np.zeros(size, np.bool_))[place] = True
        for place, rule in enumerate(self._catalog.rules):
            if rule.cap is not None:
                lifted = self._condition(f"rules[{place}].when", rule.when, holds=False)
                members = self._selector.mask(f"rules[{place}].offers", rule.offers)
                carriers.setdefault((rule.cap, lifted), np.zeros(size, np.bool_))[members] = True
                if lifted != ALWAYS and rule.cap.per is CapSubject.GLOBAL:
                    problem = "a cap of everybody cannot depend on a customer; leave `when` out"
                    self.problems.append(Problem(f"rules[{place}].when", problem))
        return [(cap, members, lifted) for (cap, lifted), members in carriers.items()]

    def _channel(
        self,
        channel: str,
        caps: Sequence[tuple[Cap, BoolRow, int]],
        budgets: Sequence[tuple[Budget, BoolRow]],
    ) -> ChannelPolicy:
        offers = self._table.offers
        of = {subject: [each for each in caps if each[0].per is subject] for subject in CapSubject}
        shared = [(cap, carriers) for cap, carriers, _ in of[CapSubject.GLOBAL]]
        purpose = next((each.purpose for each in self._catalog.channels if each.id == channel), "")
        return ChannelPolicy(
            customer=compile_families(offers, of[CapSubject.CUSTOMER], channel),
            household=compile_families(offers, of[CapSubject.HOUSEHOLD], channel),
            meters=compile_meter_limits(offers, budgets, shared, channel),
            purpose=self._customer.purposes.index(purpose) if purpose else -1,
        )

    def _levers(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What each offer's expected value is multiplied by whoever the customer is."""
        factors = np.ones(len(self._table))
        for place, lever in enumerate(self._catalog.levers):
            factors[self._selector.mask(f"levers[{place}].offers", lever.offers)] *= lever.multiplier
        for place, rule in enumerate(self._catalog.rules):
            if rule.boost is not None and not rule.when:
                factors[self._selector.mask(f"rules[{place}].offers", rule.offers)] *= rule.boost
        return factors

    def _boosts(self) -> tuple[Boost, ...]:
        return tuple(
            Boost(
                rule.id,
                self._condition(f"rules[{place}].when", rule.when),
                self._selector.mask(f"rules[{place}].offers", rule.offers),
                rule.boost,
            )
            for place, rule in enumerate(self._catalog.rules)
            if rule.boost is not None and rule.when
        )

    def _pins(self) -> tuple[Pin, ...]:
        return tuple(
            Pin(
                rule.id,
                self._condition(f"rules[{place}].when", rule.when),
                self._selector.mask(f"rules[{place}].offers", rule.offers).nonzero()[0],
                rule.pin - 1,
            )
            for place, rule in enumerate(self._catalog.rules)
            if rule.pin is not None
        )

    def _purposes(self) -> list[PurposeOffers]:
        purposes = dict.fromkeys(offer.purpose for offer in self._table.offers if offer.purpose)
        of_offers = [offer.purpose for offer in self._table.offers]
        return [
            PurposeOffers(
                purpose,
                self._customer.purposes.index(purpose),
                pack(np.array([each == purpose for each in of_offers], np.bool_)),
            )
            for purpose in purposes
        ]

    def _zone_values(self) -> tuple[str, ...] | None:
        attribute = self._customer.by_id.get(self._catalog.time_zones.attribute)
        return attribute.values if attribute is not None and attribute.type is AttributeType.CATEGORY else None

    def _quiet(self) -> QuietClock:
        catalog = self._catalog
        return QuietClock(catalog.quiet_hours, self._zone_values() or (), catalog.time_zones.candidates)

    def _quiet_problems(self) -> list[Problem]:
        return zone_problems(self._catalog.quiet_hours, self._catalog.time_zones, self._zone_values())

    def _check_entries(self, channels: Sequence[str]) -> None:
        """What names something that the catalog does not have."""
        catalog = self._catalog
        for place, hours in enumerate(catalog.quiet_hours):
            for number, channel in enumerate(hours.channels):
                if channel not in channels:
                    problem = f"no placement has the channel {channel}"
                    self.problems.append(Problem(f"quiet_hours[{place}].channels[{number}]", problem))
        attribute = self._customer.by_id.get(catalog.household)
        if catalog.household and (attribute is None or attribute.type is not AttributeType.KEY):
            problem = f"{catalog.household} is not a customer attribute of type key"
            self.problems.append(Problem("contacts.household", problem))
        declared = [cap for offer in self._table.offers for cap in offer.caps]
        declared += [rule.cap for rule in catalog.rules if rule.cap is not None]
        if any(cap.per is CapSubject.HOUSEHOLD for cap in declared) and not catalog.household:
            problem = "a cap per household needs `household`, the attribute that members have in common"
            self.problems.append(Problem("contacts", problem))


def _is_exclusion(rules: Sequence[Rule], problem: Problem) -> bool:
    """Whether `exclusions_of` has told of a problem already."""
    return any(rule.exclude and problem.path == f"rules[{place}].offers" for place, rule in enumerate(rules))
