"""Checks that a condition's names exist and that its types fit, before anything is compiled."""

from difflib import get_close_matches

from server.domain.attribute import Attribute, AttributeType
from server.domain.condition import (
    Comparison,
    ConditionError,
    Expression,
    Has,
    Items,
    Literal,
    Logic,
    Name,
    Not,
)
from server.intelligence.conditions.vocabulary import Vocabulary

_ORDERED = frozenset({"<", "<=", ">", ">="})


def check(expression: Expression, vocabulary: Vocabulary) -> list[ConditionError]:
    """Every problem of a condition; none means that it compiles."""
    checker = _Checker(vocabulary)
    checker.truth(expression)
    return checker.problems


class _Checker:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.problems: list[ConditionError] = []

    def truth(self, node: Expression) -> None:
        """Checks a node that must be true or false."""
        match node:
            case Logic(operands=operands):
                for operand in operands:
                    self.truth(operand)
            case Not(operand=operand):
                self.truth(operand)
            case Comparison():
                self._comparison(node)
            case Has(name=name):
                self._name(name)
            case Name():
                attribute = self._name(node)
                if attribute is not None and attribute.type is not AttributeType.BOOLEAN:
                    self._problem(node, f"{node.root}.{node.attribute} is a {attribute.type}, not true or false")
            case Literal(value=bool()):
                pass
            case _:
                self._problem(node, "expected something that is true or false")

    def _comparison(self, node: Comparison) -> None:
        left, right = self._operand(node.left), self._operand(node.right)
        if left is None or right is None:
            return
        if self._is_variable(node.left) and self._is_variable(node.right):
            self._problem(node, "compare an attribute with a value or with an attribute of the offer")
        elif isinstance(node.left, Items):
            self._problem(node, "a list stands only on the right side of `in`")
        elif node.operator == "in":
            self._membership(node, left, right)
        elif AttributeType.SET in (left, right) or isinstance(node.right, Items):
            self._problem(node, f"{node.operator} does not take a list; use `in`")
        elif left is not right:
            self._problem(node, f"cannot compare a {left} with a {right}")
        elif node.operator in _ORDERED and left is not AttributeType.NUMBER:
            self._problem(node, f"{node.operator} compares numbers, not a {left}")
        else:
            self._declared_values(node.left, node.right)

    def _membership(self, node: Comparison, left: AttributeType, right: AttributeType) -> None:
        if isinstance(node.right, Items):
            for item in node.right.items:
                if _type_of(item) is not left:
                    self._problem(item, f"the list must hold values of type {left}")
            self._declared_values(node.left, node.right)
        elif right is not AttributeType.SET:
            self._problem(node, "the right side of `in` is a list or an attribute of type set")
        elif left is not AttributeType.CATEGORY:
            self._problem(node, f"a set holds texts, not a {left}")
        else:
            self._declared_values(node.right, node.left)

    def _operand(self, node: Expression) -> AttributeType | None:
        match node:
            case Literal():
                return _type_of(node)
            case Items(items=items):
                return _type_of(items[0]) if items else AttributeType.CATEGORY
            case Name():
                attribute = self._name(node)
                if attribute is None:
                    return None
                # An age is read as a number of days.
                is_age = attribute.type is AttributeType.TIMESTAMP_AGE
                return AttributeType.NUMBER if is_age else attribute.type
        self._problem(node, "compare attributes and values, not the outcome of another condition")
        return None

    def _name(self, name: Name) -> Attribute | None:
        try:
            attribute = self._vocabulary.attribute(name)
        except ConditionError as problem:
            self.problems.append(problem)
            return None
        if (attribute.by is None) != (name.key is None):
            example = f"{name.root}.{name.attribute}[offer.{attribute.by}]" if attribute.by else name.attribute
            keyed = "is keyed" if attribute.by else "is not keyed"
            self._problem(name, f"{name.root}.{name.attribute} {keyed}; write {example}")
            return None
        return attribute if name.key is None or self._key(name, attribute) else None

    def _key(self, name: Name, attribute: Attribute) -> bool:
        key = name.key
        if isinstance(key, Literal):
            if key.value not in attribute.keys:
                self._problem(key, f"{name.attribute} has no key {key.value!r}{_near(key.value, attribute.keys)}")
                return False
            return True
        if key is None or key.root != "offer" or "offer" in self._vocabulary.variables:
            self._problem(key or name, "a key is a text, or an attribute of the offer")
            return False
        found = self._name(key)
        if found is not None and found.type is not AttributeType.CATEGORY:
            self._problem(key, f"a key is a text, and offer.{key.attribute} is a {found.type}")
            return False
        return found is not None

    def _declared_values(self, left: Expression, right: Expression) -> None:
        """A customer's or context's category can only equal values that the catalog declares for it."""
        for name, values in ((left, right), (right, left)):
            if not isinstance(name, Name) or name.root == "offer":
                continue
            attribute = self._vocabulary.attribute(name)
            if attribute.type not in (AttributeType.CATEGORY, AttributeType.SET):
                continue
            for literal in values.items if isinstance(values, Items) else (values,):
                if isinstance(literal, Literal) and literal.value not in attribute.values:
                    near = _near(literal.value, attribute.values)
                    self._problem(literal, f"{name.root}.{name.attribute} has no value {literal.value!r}{near}")

    def _is_variable(self, node: Expression) -> bool:
        return isinstance(node, Name) and node.root in self._vocabulary.variables

    def _problem(self, node: Expression, description: str) -> None:
        self.problems.append(ConditionError(node.position, description))


def _type_of(literal: Literal) -> AttributeType:
    if isinstance(literal.value, bool):
        return AttributeType.BOOLEAN
    return AttributeType.CATEGORY if isinstance(literal.value, str) else AttributeType.NUMBER


def _near(value: object, known: tuple[str, ...]) -> str:
    near = get_close_matches(str(value), known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
