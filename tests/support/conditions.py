"""Evaluates conditions the way a catalog does: compiled for offers, over one customer in one context."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from server.domain.attribute import BoolRow, FloatRow, Schema, Value, days_since_epoch
from server.domain.contact import HistoryVariable
from server.domain.offer import Offer
from server.domain.offer_table import infer_schema
from server.domain.profile import AttributeUpdates
from server.input.profiles import ProfileTable
from server.input.variables import VariableReader
from server.intelligence.conditions.history import HistoryColumns
from server.intelligence.conditions.vocabulary import Vocabulary
from server.intelligence.eligibility import Eligibility, compile_eligibility, pack
from tests.support.catalogs import boolean, category, keyed, number, offer, schema, text_set, timestamp
from tests.support.clock import NOON
from tests.support.tables import change

NOW_DAYS = days_since_epoch(NOON)
CUSTOMER = schema(
    number("visits"),
    number("score"),
    category("tier", "basic", "silver", "gold"),
    text_set("tags", "vegan", "parent", "student"),
    boolean("member"),
    keyed("spend", "department", "grocery", "floral"),
    timestamp("last_visit"),
    category("wish", "gold", "vegan", "phone"),
)
CONTEXT = schema(category("channel", "web"), number("hour"), category("device", "phone", "desktop"), boolean("vip"))
OFFERS = (
    offer("full", attributes={"level": 2.0, "department": "grocery", "promo": True, "for": ("vegan", "gold")}),
    offer("other", attributes={"level": -0.5, "department": "tools", "promo": False}),
    offer("bare"),
)
ONE = offer("one")
Contacts = Mapping[HistoryVariable, float]
"""What a history says: how many contacts, or how many days ago the latest was."""


def vocabulary(offers: Sequence[Offer] = OFFERS, history: HistoryColumns | None = None) -> Vocabulary:
    """The names of `CUSTOMER`, `CONTEXT`, the history and the attributes of these offers."""
    return Vocabulary(
        {"customer": CUSTOMER, "context": CONTEXT, "offer": infer_schema(offers)[0]},
        variables=("customer", "context"),
        history=HistoryColumns() if history is None else history,
        has_time=True,
    )


def variables(
    customer: Mapping[str, Value], context: Mapping[str, Value], customer_schema: Schema = CUSTOMER
) -> FloatRow:
    """What conditions read of a customer with these attributes in this context."""
    profiles = ProfileTable(customer_schema)
    change(profiles, "a", AttributeUpdates(set=customer))
    return VariableReader(customer_schema, CONTEXT).read(profiles.read("a"), "web", context, NOW_DAYS)


def with_history(row: FloatRow, columns: HistoryColumns, history: Contacts) -> FloatRow:
    """The variables with the columns of the history behind them."""
    return np.append(row, history_row(columns.variables, history))


def history_row(asked: Sequence[HistoryVariable], history: Contacts) -> FloatRow:
    """These numbers of a customer's contacts; what is not among them has not happened."""
    absent = (math.nan if variable.window_days is None else 0.0 for variable in asked)
    return np.array([history.get(variable, number) for variable, number in zip(asked, absent, strict=True)], np.float32)


def through(eligibility: Eligibility, row: FloatRow, now_days: float = NOW_DAYS) -> BoolRow:
    """The offers whose conditions hold, if nothing else excludes any: bool [offers]."""
    return eligibility.eligible(eligibility.truth(row, now_days), pack(np.ones(eligibility.size, np.bool_)))


def holds(
    text: str,
    customer: Mapping[str, Value] | None = None,
    context: Mapping[str, Value] | None = None,
    attributes: Mapping[str, Value] | None = None,
    *,
    history: Contacts | None = None,
    given: Offer = ONE,
) -> bool:
    """Whether a condition lets one offer with these attributes through."""
    one = replace(given, attributes=attributes or {})
    offers = [replace(each, eligible=text) for each in (one, *OFFERS)]
    columns = HistoryColumns()
    eligibility, problems = compile_eligibility(offers, vocabulary(offers, columns))
    assert not problems, [str(problem) for problem in problems]
    row = with_history(variables(customer or {}, context or {}), columns, history or {})
    return bool(np.asarray(through(eligibility, row))[0])
