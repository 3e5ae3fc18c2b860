"""Which names a condition may use, and where their values are when it is evaluated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from server.domain.attribute import Attribute, AttributeType, Schema
from server.domain.condition import ConditionError, Name


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The roots of names (`customer`, `context`, `offer`) with their schemas.

    The roots in `variables` are read when the condition is evaluated: their columns stand one after the other in
    a vector, in this order. The other roots are constants: their values are known when the condition is compiled.
    """

    roots: Mapping[str, Schema]
    variables: tuple[str, ...]

    def attribute(self, name: Name) -> Attribute:
        """The attribute that a name stands for.

        Raises:
            ConditionError: there is no such root or attribute, and the error suggests the nearest one; or it is a text.
        """
        schema = self.roots.get(name.root)
        if schema is None:
            roots = sorted(self.roots)
            raise ConditionError(name.position, f"unknown name {name.root}{_suggestion(name.root, roots)}")
        attribute = schema.by_id.get(name.attribute)
        if attribute is None:
            known = _suggestion(name.attribute, schema.by_id, f"{name.root}.")
            raise ConditionError(name.position, f"unknown attribute {name.root}.{name.attribute}{known}")
        if attribute.type is AttributeType.TEXT:
            raise ConditionError(
                name.position, f"{name.root}.{name.attribute} is identifying text: it is not for rules"
            )
        return attribute

    def variable(self, root: str, column: str) -> int | None:
        """The place of a root's column in the vector of variables; None for a cell that nobody declared."""
        found = self.roots[root].columns.get(column)
        return None if found is None else found + self.offset(root)

    def offset(self, root: str) -> int:
        """Where a root's columns begin in the vector of variables."""
        before = self.variables[: self.variables.index(root)]
        return sum(self.roots[earlier].width for earlier in before)


def _suggestion(word: str, known: Iterable[str], prefix: str = "") -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
