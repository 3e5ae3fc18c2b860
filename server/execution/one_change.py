"""A single change in words, as the explanation of an offer that was not shown has it: "if … had …"."""

from collections.abc import Callable, Mapping
from decimal import ROUND_CEILING, Context

from server.execution.blockers import Blocker, BlockerKind
from server.execution.evaluation import Evaluation
from server.execution.known import known
from server.execution.rerun import Field

_UP = Context(prec=6, rounding=ROUND_CEILING)


def if_worth_more(field: Field, offer: int, needed: float) -> str:
    """The expected value that is needed, and the propensity or the value that would give it alone."""
    wide, currency = field.wide, field.evaluation.catalog.currency
    worth, value = float(wide.worth[offer]), float(wide.value[offer])
    factor = worth / value if value else 0.0
    if field.evaluation.placement.model is None:
        alone = f" (value above {_up(needed / factor)})" if factor > 0 and factor != 1 else ""
        return f"if its value were above {_up(needed)} {currency}{', levers included' if factor != 1 else ''}{alone}"
    propensity = float(wide.propensity[offer])
    ways = []
    if worth > 0 and 0 <= needed / worth < 1:
        ways.append(f"propensity above {_up(needed / worth)}")
    if propensity > 0 and factor > 0:
        ways.append(f"value above {_up(needed / propensity / factor)}")
    alone = f" ({', or '.join(ways)})" if ways else ""
    return f"if its expected value were above {_up(needed)} {currency}{alone}"


def _up(number: float) -> str:
    """A number in six digits, rounded up: whatever is above it is enough."""
    return f"{float(_UP.create_decimal_from_float(number)):.6g}"


def _creative(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    return f"if it had a creative for channel {evaluation.channel}"


def _schedule(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    return "if it had been scheduled at the time"


def _filter(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    return "if the request had no filter"


def _quiet(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    return "if it had not been quiet hours where the customer is"


def _consent(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    return f"if the customer had agreed to {blocker.what}"


def _clause(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    clause, catalog = int(blocker.what), evaluation.catalog
    text, failure = catalog.eligibility.texts[clause], catalog.eligibility.failures[clause]
    values = known(catalog, text, evaluation.variables, catalog.offers.offers[offer])
    change = f"it were not {failure}" if text == f"not {failure}" else f"{text} held"
    return f"if {change} ({values})" if values else f"if {change}"


def _limit(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    rules = evaluation.snapshot.rules.channel(evaluation.channel)
    return f"if the {rules.words(int(blocker.what))} had room"


_NOT_BLOCKED: Mapping[BlockerKind, Callable[[Evaluation, Blocker, int], str]] = {
    BlockerKind.CREATIVE: _creative,
    BlockerKind.SCHEDULE: _schedule,
    BlockerKind.FILTER: _filter,
    BlockerKind.QUIET: _quiet,
    BlockerKind.CONSENT: _consent,
    BlockerKind.CLAUSE: _clause,
    BlockerKind.LIMIT: _limit,
}


def if_not_blocked(evaluation: Evaluation, blocker: Blocker, offer: int) -> str:
    """What would have to be otherwise for a blocker not to keep an offer back."""
    return _NOT_BLOCKED[blocker.kind](evaluation, blocker, offer)
