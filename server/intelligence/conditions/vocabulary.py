"""Which names a condition may use, and where their values are when it is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.domain.attribute import Attribute, AttributeType, Schema
from server.domain.condition import ConditionError, Name
from server.intelligence.conditions.history import ROOT as HISTORY
from server.intelligence.conditions.history import HistoryColumns, HistoryName, read_history_name
from server.intelligence.conditions.kinds import Kind, kind_of_type
from server.intelligence.conditions.suggestions import suggestion

TIME = "time"
"""`context.time`: the time of the decision. It has no column, as a float32 is too coarse for it."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The roots of names (`customer`, `context`, `offer`) with their schemas.

    The roots in `variables` are read when the condition is evaluated: their columns stand one after the other in
    a vector, in this order, then one NaN, then the columns of the history. The other roots are constants: their
    values are known when the condition is compiled.

    Attributes:
        history: Gives columns to the names `history.*`; None where there is no history.
        has_time: Whether there is `context.time`.
        elsewhere: What to say of roots that conditions have elsewhere, but not here.
    """

    roots: Mapping[str, Schema]
    variables: tuple[str, ...]
    history: HistoryColumns | None = None
    has_time: bool = False
    elsewhere: Mapping[str, str] = field(default_factory=dict)

    def is_time(self, name: Name) -> bool:
        """Whether a name is `context.time`."""
        return self.has_time and (name.root, name.attribute) == ("context", TIME)

    def is_history(self, name: Name) -> bool:
        """Whether a name is one of the history, well spelt or not."""
        return self.history is not None and name.root == HISTORY

    def kind(self, name: Name) -> Kind:
        """What a name is read as.

        Raises:
            ConditionError: as `attribute` and `history_name`.
        """
        if self.is_time(name):
            return Kind.TIMESTAMP
        if self.is_history(name):
            self.history_name(name)
            return Kind.NUMBER
        return kind_of_type(self.attribute(name).type)

    def attribute(self, name: Name) -> Attribute:
        """The attribute that a name stands for.

        Raises:
            ConditionError: there is no such root or attribute, and the error suggests the nearest one; or it is a text.
        """
        schema = self.roots.get(name.root)
        if schema is None:
            raise ConditionError(name.position, self._unknown_root(name))
        attribute = schema.by_id.get(name.attribute)
        if attribute is None:
            names = [*schema.by_id, *([TIME] if self.has_time and name.root == "context" else [])]
            known = suggestion(name.attribute, names, f"{name.root}.")
            raise ConditionError(name.position, f"unknown attribute {name.root}.{name.attribute}{known}")
        if attribute.type in (AttributeType.TEXT, AttributeType.KEY):
            what = "identifying text" if attribute.type is AttributeType.TEXT else "a key"
            raise ConditionError(name.position, f"{name.root}.{name.attribute} is {what}: it is not for rules")
        return attribute

    def history_name(self, name: Name) -> HistoryName:
        """What a name of the history asks for.

        Raises:
            ConditionError: there is no such name, or it is about one offer where none is meant.
        """
        found = read_history_name(name)
        if found.offer_attribute is not None and not self.is_constant("offer"):
            problem = f"history.{name.attribute} is about one offer, which is not known here"
            raise ConditionError(name.position, problem)
        return found

    def is_constant(self, root: str) -> bool:
        """Whether the values of a root are known when a condition is compiled."""
        return root in self.roots and root not in self.variables

    def column(self, root: str, column: str) -> int | None:
        """The place of a root's column in the vector of variables; None for a cell that nobody declared."""
        found = self.roots[root].columns.get(column)
        return None if found is None else found + self.offset(root)

    def offset(self, root: str) -> int:
        """Where a root's columns begin in the vector of variables."""
        earlier = self.variables[: self.variables.index(root)]
        return sum(self.roots[name].width for name in earlier)

    @property
    def history_offset(self) -> int:
        """Where the columns of the history begin."""
        return sum(self.roots[name].width for name in self.variables) + 1

    def _unknown_root(self, name: Name) -> str:
        if name.root in self.elsewhere:
            return f"{name.root}.{name.attribute}: {self.elsewhere[name.root]}"
        roots = sorted(
            {*self.roots, *([HISTORY] if self.history is not None else []), *(["context"] if self.has_time else [])}
        )
        return f"unknown name {name.root}{suggestion(name.root, roots)}"
