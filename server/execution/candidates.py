"""Candidates: the stages that find what may be shown, from what is known of the customer to what caps leave.

For 1,000 offers on one core: variables 9 us, eligibility 10 us, contacts 15 us for a customer who had some.
"""

import math

import numpy as np

from server.domain.attribute import BoolRow, IntRow
from server.execution.contact_rules import ChannelRules, contact_columns, with_household
from server.execution.evaluation import Evaluation
from server.input.contacts import Events
from server.input.keys import key_name
from server.intelligence.eligibility import Words

_NONE = np.empty(0, np.bool_)


def read_variables(evaluation: Evaluation) -> None:
    """What is known of customer and context."""
    query, catalog, profiles = evaluation.query, evaluation.catalog, evaluation.snapshot.profiles
    row = evaluation.own_row = profiles.find(query.customer_id)
    if row >= 0:
        row = profiles.graph.customer(row)
    evaluation.row = row
    profile = evaluation.profile = None if row < 0 else profiles.read_row(row)
    evaluation.granted = 0 if profile is None else profile.granted
    history = None
    if catalog.history and row >= 0:
        history = evaluation.snapshot.rules.history.read(profiles.events(row), evaluation.now_us)
    evaluation.variables = catalog.variables.read(
        profile, evaluation.channel, query.context.attributes, evaluation.now_days, history=history
    )


def find_eligible(evaluation: Evaluation) -> None:
    """The offers that creative, schedule, consent, quiet hours, request and conditions allow."""
    catalog, now_days = evaluation.catalog, evaluation.now_days
    policy = catalog.policy
    evaluation.truth = catalog.eligibility.truth(evaluation.variables, now_days)
    evaluation.conditions = policy.conditions.holds(evaluation.variables, now_days) if len(policy.conditions) else _NONE
    evaluation.requested = _requested(evaluation)
    evaluation.quiet = _is_quiet(evaluation)
    allowed = catalog.eligibility.eligible(evaluation.truth, _standing(evaluation))
    if evaluation.requested is not None:
        allowed &= evaluation.requested
    if evaluation.query.filter:
        allowed &= catalog.filter.mask(evaluation.query.filter)
    evaluation.allowed = allowed.nonzero()[0]


def hold_back(evaluation: Evaluation) -> None:
    """Takes out what caps and budgets hold back, and notes what room they leave for the decision itself."""
    rules = evaluation.snapshot.rules.channel(evaluation.channel)
    policy = rules.policy
    if not (len(policy.customer) or len(policy.household) or policy.meters.limits):
        return
    _count_contacts(evaluation, rules)
    if policy.meters.limits:
        shortage = rules.meters.short(evaluation.now_us, evaluation.most.slots)
        evaluation.short, evaluation.gone = shortage.limits, (shortage.offers, shortage.numbers)
    hold_back_by_counts(evaluation, rules)


def hold_back_by_counts(evaluation: Evaluation, rules: ChannelRules) -> None:
    """Does so by what was counted, and by the meters that are short."""
    parts = holders(evaluation, rules)
    if parts:
        _take_out(evaluation, parts)


def holders(evaluation: Evaluation, rules: ChannelRules) -> list[tuple[IntRow, IntRow]]:
    """The offers that caps and budgets hold back, whatever else excludes them, each with the place of what does.

    Notes in the evaluation what room is left for the decision itself.
    """
    most, lifting = evaluation.most, evaluation.conditions
    parts: list[tuple[IntRow, IntRow]] = []
    rooms = []
    for counter, counted, first in zip(
        (rules.customer, rules.household), evaluation.counted, (0, rules.first_household), strict=True
    ):
        if counted is None:
            continue
        capped = counter.judge(counted, most, lifting)
        if len(capped.offers):
            parts.append((capped.offers, capped.families + first))
        rooms += [room._replace(family=room.family + first) for room in capped.rooms]
    evaluation.rooms = rooms
    offers, numbers = evaluation.gone
    if len(offers):
        parts.append((offers, numbers + rules.first_meter))
    for number, limit, left in evaluation.short:
        offers = limit.offers[limit.carriers & (limit.amounts > left)]
        parts.append((offers, np.full(len(offers), rules.first_meter + number)))
    return parts


def _count_contacts(evaluation: Evaluation, rules: ChannelRules) -> None:
    """What contacts count for: the customer's, and those of the household."""
    now_us, lifting, row = evaluation.now_us, evaluation.conditions, evaluation.row
    events = None if row < 0 else evaluation.snapshot.profiles.events(row)
    customer = household = None
    if len(rules.policy.customer):
        customer = rules.customer.count(contact_columns(events), now_us, lifting)
    if len(rules.policy.household):
        columns = contact_columns(_household_events(evaluation, events))
        household = rules.household.count(columns, now_us, lifting)
    evaluation.counted = customer, household


def household_of(evaluation: Evaluation) -> str:
    """The key of the customer's household, empty if there is none or it may not be read."""
    household, variables = evaluation.catalog.policy.household, evaluation.variables
    if not household:
        return ""
    first = evaluation.catalog.customer.columns[household]
    return key_name(variables[first : first + 3].tolist())


def _household_events(evaluation: Evaluation, events: Events | None) -> Events | None:
    """The contacts of the household, with those of the customer from before anybody knew of it."""
    household = household_of(evaluation)
    shared = evaluation.snapshot.rules.household_events(household) if household else None
    return with_household(shared, events)


def _take_out(evaluation: Evaluation, parts: list[tuple[IntRow, IntRow]]) -> None:
    offers, codes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    allowed = np.zeros(len(evaluation.catalog.offers), np.bool_)
    allowed[evaluation.allowed] = True
    # Only what would have been shown otherwise is said to have been held back.
    held = allowed.take(offers)
    evaluation.held, evaluation.held_by = offers[held], codes[held]
    allowed[offers] = False
    evaluation.allowed = allowed.nonzero()[0]


def _standing(evaluation: Evaluation) -> Words:
    """What may be shown whatever the conditions say, as a bit set."""
    policy = evaluation.catalog.policy
    standing = evaluation.creatives.standing(evaluation.now_days)
    purpose = policy.channels[evaluation.channel].purpose
    if evaluation.quiet or (purpose >= 0 and not evaluation.granted >> purpose & 1):
        return np.zeros_like(standing)
    for of_purpose in policy.purposes:
        if not evaluation.granted >> of_purpose.bit & 1:
            standing = standing & ~of_purpose.offers
    return standing


def _is_quiet(evaluation: Evaluation) -> bool:
    policy = evaluation.catalog.policy
    if not policy.quiet:
        return False
    code = float(evaluation.variables[policy.zone_column]) if policy.zone_column >= 0 else math.nan
    return policy.quiet.is_quiet(evaluation.channel, code, evaluation.now_us)


def _requested(evaluation: Evaluation) -> BoolRow | None:
    """The candidates that the request names; None if it names none, which means all."""
    ids = evaluation.query.candidate_offer_ids
    if not ids:
        return None
    index = evaluation.catalog.offers.index
    mask = np.zeros(len(index), np.bool_)
    mask[[index[offer_id] for offer_id in ids if offer_id in index]] = True
    return mask
