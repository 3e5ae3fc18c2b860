"""Checks that a condition's names exist and that its types fit, before anything is compiled."""

from server.domain.attribute import Attribute, AttributeType
from server.domain.condition import (
    Arithmetic,
    Comparison,
    ConditionError,
    Duration,
    Expression,
    Has,
    Instant,
    Items,
    Literal,
    Logic,
    Name,
    Negative,
    Not,
    TextTest,
)
from server.intelligence.conditions.kinds import ORDERED, Kind, kind_of_result
from server.intelligence.conditions.suggestions import quoted_suggestion
from server.intelligence.conditions.texts import text_test
from server.intelligence.conditions.vocabulary import Vocabulary

_ORDERS = frozenset({"<", "<=", ">", ">="})
_PAIR = "compare an attribute with a value or with an attribute of the offer"


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
            case TextTest():
                self._text_test(node)
            case Has(name=name):
                self._name(name)
            case Name():
                kind = self._name(node)
                if kind not in (None, Kind.BOOLEAN):
                    self._problem(node, f"{node.root}.{node.attribute} is a {kind}, not true or false")
            case Literal(value=bool()):
                pass
            case _:
                self._problem(node, "expected something that is true or false")

    def _comparison(self, node: Comparison) -> None:
        left, right = self._operand(node.left), self._operand(node.right)
        if left is None or right is None:
            return
        if isinstance(node.left, Items):
            self._problem(node, "a list stands only on the right side of `in`")
        elif node.operator == "in":
            self._membership(node, left, right)
        elif Kind.SET in (left, right) or isinstance(node.right, Items):
            self._problem(node, f"{node.operator} does not take a list; use `in`")
        elif left is not right:
            self._problem(node, f"cannot compare a {left} with a {right}")
        elif node.operator in _ORDERS and left not in ORDERED:
            self._problem(node, f"{node.operator} compares numbers and times, not a {left}")
        else:
            self._declared_values(node.left, node.right)

    def _membership(self, node: Comparison, left: Kind, right: Kind) -> None:
        if isinstance(node.right, Items):
            for item in node.right.items:
                if _kind_of(item) is not left:
                    self._problem(item, f"the list must hold values of type {left}")
            self._declared_values(node.left, node.right)
        elif right is not Kind.SET:
            self._problem(node, "the right side of `in` is a list or an attribute of type set")
        elif left is not Kind.CATEGORY:
            self._problem(node, f"a set holds texts, not a {left}")
        elif self._is_variable(node.left) and self._is_variable(node.right):
            self._problem(node, _PAIR)
        else:
            self._declared_values(node.right, node.left)

    def _text_test(self, node: TextTest) -> None:
        subject, argument = self._operand(node.subject), self._operand(node.argument)
        if subject is None or argument is None:
            return
        if subject is not Kind.CATEGORY or isinstance(node.subject, Items):
            self._problem(node, f"{node.function} tests a text, not a {_what(node.subject, subject)}")
        elif argument is not Kind.CATEGORY or isinstance(node.argument, Items):
            self._problem(node.argument, f"{node.function} takes a text, not a {_what(node.argument, argument)}")
        elif self._is_variable(node.argument):
            self._problem(node.argument, f"{node.function} takes a text in quotes, or an attribute of the offer")
        elif isinstance(node.argument, Literal):
            try:
                text_test(node.function, str(node.argument.value))
            except ValueError as problem:
                self._problem(node.argument, str(problem))

    def _operand(self, node: Expression) -> Kind | None:  # noqa: PLR0911 - one for each kind of node
        """What kind of value a node has; None after a problem."""
        match node:
            case Literal():
                return _kind_of(node)
            case Items(items=items):
                return _kind_of(items[0]) if items else Kind.CATEGORY
            case Instant():
                return Kind.TIMESTAMP
            case Duration():
                return Kind.DURATION
            case Name():
                return self._name(node)
            case Negative(operand=operand):
                return self._negative(node, self._operand(operand))
            case Arithmetic():
                return self._arithmetic(node)
        self._problem(node, "compare attributes and values, not the outcome of another condition")
        return None

    def _negative(self, node: Negative, kind: Kind | None) -> Kind | None:
        if kind is None or (kind is Kind.NUMBER and not isinstance(node.operand, Items)):
            return kind
        self._problem(node, f"- negates a number, not a {_what(node.operand, kind)}")
        return None

    def _arithmetic(self, node: Arithmetic) -> Kind | None:
        left, right = self._operand(node.left), self._operand(node.right)
        if left is None or right is None:
            return None
        is_list = isinstance(node.left, Items) or isinstance(node.right, Items)
        kind = None if is_list else kind_of_result(node.operator, left, right)
        if kind is None:
            takes = f"a {_what(node.left, left)} and a {_what(node.right, right)}"
            self._problem(node, f"{node.operator} does not take {takes}")
        return kind

    def _name(self, name: Name) -> Kind | None:
        try:
            kind = self._vocabulary.kind(name)
            given = self._vocabulary.is_time(name) or self._vocabulary.is_history(name)
            attribute = None if given else self._vocabulary.attribute(name)
        except ConditionError as problem:
            self.problems.append(problem)
            return None
        by = attribute.by if attribute is not None else None
        if (by is None) != (name.key is None):
            example = f"{name.root}.{name.attribute}[offer.{by}]" if by else name.attribute
            keyed = "is keyed" if by else "is not keyed"
            self._problem(name, f"{name.root}.{name.attribute} {keyed}; write {example}")
            return None
        return kind if attribute is None or name.key is None or self._key(name, attribute) else None

    def _key(self, name: Name, attribute: Attribute) -> bool:
        key = name.key
        if isinstance(key, Literal):
            if key.value not in attribute.keys:
                near = quoted_suggestion(key.value, attribute.keys)
                self._problem(key, f"{name.attribute} has no key {key.value!r}{near}")
                return False
            return True
        if key is None or key.root != "offer" or "offer" in self._vocabulary.variables:
            self._problem(key or name, "a key is a text, or an attribute of the offer")
            return False
        kind = self._name(key)
        if kind not in (None, Kind.CATEGORY):
            self._problem(key, f"a key is a text, and offer.{key.attribute} is a {kind}")
            return False
        return kind is not None

    def _declared_values(self, left: Expression, right: Expression) -> None:
        """A customer's or context's category can only equal values that the catalog declares for it."""
        for name, values in ((left, right), (right, left)):
            if not isinstance(name, Name) or name.root not in ("customer", "context") or self._vocabulary.is_time(name):
                continue
            attribute = self._vocabulary.attribute(name)
            if attribute.type not in (AttributeType.CATEGORY, AttributeType.SET):
                continue
            for literal in values.items if isinstance(values, Items) else (values,):
                if isinstance(literal, Literal) and literal.value not in attribute.values:
                    near = quoted_suggestion(literal.value, attribute.values)
                    self._problem(literal, f"{name.root}.{name.attribute} has no value {literal.value!r}{near}")

    def _is_variable(self, node: Expression) -> bool:
        return isinstance(node, Name) and not self._vocabulary.is_constant(node.root)

    def _problem(self, node: Expression, description: str) -> None:
        self.problems.append(ConditionError(node.position, description))


def _kind_of(literal: Literal) -> Kind:
    if isinstance(literal.value, bool):
        return Kind.BOOLEAN
    return Kind.CATEGORY if isinstance(literal.value, str) else Kind.NUMBER


def _what(node: Expression, kind: Kind | None) -> str:
    return "list" if isinstance(node, Items) else str(kind)
