"""The names `history.*`: how often and how long ago a customer was shown something, and what became of it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from server.domain.attribute import Value
from server.domain.condition import ConditionError, Name
from server.domain.contact import ContactKind, ContactScope, HistoryVariable
from server.intelligence.conditions.suggestions import suggestion

ROOT = "history"
MAX_WINDOW_DAYS = 365
MAX_COLUMNS = 65_536
"""How many different numbers of the history one catalog may read."""

_COUNTS = {
    "decisions": ContactKind.DECISION,
    "impressions": ContactKind.IMPRESSION,
    "clicks": ContactKind.CLICK,
    "accepted": ContactKind.ACCEPTED,
    "declined": ContactKind.DECLINED,
    "converted": ContactKind.CONVERTED,
}
_LATEST = {
    "decision": ContactKind.DECISION,
    "impression": ContactKind.IMPRESSION,
    "click": ContactKind.CLICK,
    "accepted": ContactKind.ACCEPTED,
    "declined": ContactKind.DECLINED,
    "converted": ContactKind.CONVERTED,
}
_SCOPES = {
    "": ContactScope.ALL,
    "offer_": ContactScope.OFFER,
    "group_": ContactScope.EXCLUSION_GROUP,
    "tactic_": ContactScope.TACTIC,
}
_GIVEN_BY = {
    ContactScope.OFFER: "id",
    ContactScope.EXCLUSION_GROUP: "exclusion_group",
    ContactScope.TACTIC: "tactic",
}
_SCOPE = "(offer_|group_|tactic_|)"
_COUNT = re.compile(rf"{_SCOPE}({'|'.join(_COUNTS)})_0*(\d{{1,9}})d", re.ASCII)
_SINCE = re.compile(rf"days_since_{_SCOPE}({'|'.join(_LATEST)})", re.ASCII)
_WINDOW = re.compile(r"_(\d+)", re.ASCII)


class HistoryName(NamedTuple):
    """What a name `history.…` asks for, of whichever offer."""

    kind: ContactKind
    window_days: int | None
    scope: ContactScope

    @property
    def offer_attribute(self) -> str | None:
        """The offer's attribute that says whose contacts count; None if all do."""
        return _GIVEN_BY.get(self.scope)

    def variable(self, key: Value | None) -> HistoryVariable | None:
        """The variable for one offer; None for an offer without the key, which is in no exclusion group.

        Args:
            key: The value of `offer_attribute`; it does not matter where all contacts count.
        """
        if self.scope is ContactScope.ALL:
            return HistoryVariable(self.kind, self.window_days)
        return None if key is None else HistoryVariable(self.kind, self.window_days, self.scope, str(key))


class HistoryColumns:
    """Gives each variable of the history that the conditions of one catalog read a column, in the order of asking."""

    def __init__(self) -> None:
        self._columns: dict[HistoryVariable, int] = {}

    def column(self, variable: HistoryVariable) -> int | None:
        """The place of a variable among the columns of the history; None if there is no column left for it."""
        if variable not in self._columns and len(self._columns) == MAX_COLUMNS:
            return None
        return self._columns.setdefault(variable, len(self._columns))

    @property
    def variables(self) -> tuple[HistoryVariable, ...]:
        """The variables in the order of their columns."""
        return tuple(self._columns)


def read_history_name(name: Name) -> HistoryName:
    """What a name `history.…` means.

    Raises:
        ConditionError: there is no such name, or its window is not 1 to 365 days.
    """
    text = name.attribute
    if since := _SINCE.fullmatch(text):
        return HistoryName(_LATEST[since[2]], None, _SCOPES[since[1]])
    count = _COUNT.fullmatch(text)
    if count is None:
        near = suggestion(text, _examples(text), f"{ROOT}.") or "; it has names such as impressions_7d"
        raise ConditionError(name.position, f"unknown name {ROOT}.{text}{near}")
    window_days = int(count[3])
    if not 1 <= window_days <= MAX_WINDOW_DAYS:
        raise ConditionError(name.position, f"{ROOT}.{text}: a window has 1 to {MAX_WINDOW_DAYS} days")
    return HistoryName(_COUNTS[count[2]], window_days, _SCOPES[count[1]])


def _examples(text: str) -> Iterator[str]:
    """The names that there are, with the window of a misspelt one."""
    window = _WINDOW.search(text)
    days = window[1] if window else "7"
    for scope in _SCOPES:
        yield from (f"{scope}{kind}_{days}d" for kind in _COUNTS)
        yield from (f"days_since_{scope}{kind}" for kind in _LATEST)
