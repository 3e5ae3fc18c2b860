"""Parses conditions by recursive descent, one method for each level of CEL's precedence."""

from collections.abc import Callable

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
    Position,
)
from server.intelligence.conditions.lexer import Token, tokens, unquote

MAX_DEPTH = 32
MAX_ITEMS = 1_000
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_BOOLEANS = {"true": True, "false": False}


def parse(text: str) -> Expression:
    """The syntax tree of a condition.

    Raises:
        ConditionError: the text is not a condition, or nests deeper than 32 levels.
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._depth = 0

    def condition(self) -> Expression:
        expression = self._or()
        if self._peek.kind != "end":
            raise self._unexpected("an operator or the end")
        return expression

    def _or(self) -> Expression:
        return self._logic("||", self._and)

    def _and(self) -> Expression:
        return self._logic("&&", self._comparison)

    def _logic(self, operator: str, operand: Callable[[], Expression]) -> Expression:
        position = self._peek.position
        operands: list[Expression] = []
        texts: list[str] = []
        while True:
            start = self._peek.start
            operands.append(operand())
            texts.append(self._text[start : self._tokens[self._next - 1].end])
            if not self._take(operator):
                break
        return operands[0] if len(operands) == 1 else Logic(position, operator, tuple(operands), tuple(texts))

    def _comparison(self) -> Expression:
        left = self._unary()
        token = self._peek
        if token.text not in _COMPARISONS or token.kind == "text":
            return left
        self._next += 1
        comparison = Comparison(token.position, token.text, left, self._unary())
        if self._peek.text in _COMPARISONS and self._peek.kind != "text":
            raise ConditionError(self._peek.position, "comparisons do not chain; join two with &&")
        return comparison

    def _unary(self) -> Expression:
        position = self._peek.position
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(position, f"a condition nests at most {MAX_DEPTH} levels deep")
        expression = Not(position, self._unary()) if self._take("!") else self._primary()
        self._depth -= 1
        return expression

    def _primary(self) -> Expression:
        token = self._peek
        if self._take("("):
            expression = self._or()
            self._expect(")")
            return expression
        if token.text == "[" and token.kind == "operator":
            return self._items()
        if token.kind == "name" and token.text == "has":
            return self._has()
        if token.kind == "name" and token.text not in _BOOLEANS and token.text != "in":
            return self._name()
        return self._literal()

    def _items(self) -> Items:
        position = self._advance().position
        items: list[Literal] = []
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._literal())
            if len(items) > MAX_ITEMS:
                raise ConditionError(position, f"a list has at most {MAX_ITEMS:,} items")
        return Items(position, tuple(items))

    def _has(self) -> Has:
        position = self._advance().position
        self._expect("(")
        name = self._name()
        self._expect(")")
        return Has(position, name)

    def _name(self) -> Name:
        root = self._expect_kind("name", "a name such as customer.tier")
        self._expect(".")
        attribute = self._expect_kind("name", f"an attribute after {root.text}.")
        key: Name | Literal | None = None
        if self._take("["):
            key = self._name() if self._peek.kind == "name" else self._literal()
            self._expect("]")
        return Name(root.position, root.text, attribute.text, key)

    def _literal(self) -> Literal:
        token = self._peek
        if token.kind == "number":
            return Literal(self._advance().position, float(token.text))
        if token.kind == "text":
            return Literal(self._advance().position, unquote(token))
        if token.text in _BOOLEANS:
            return Literal(self._advance().position, _BOOLEANS[token.text])
        raise self._unexpected("an attribute or a value")

    @property
    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _advance(self) -> Token:
        self._next += 1
        return self._tokens[self._next - 1]

    def _take(self, operator: str) -> bool:
        if self._peek.kind != "operator" or self._peek.text != operator:
            return False
        self._next += 1
        return True

    def _expect(self, operator: str) -> None:
        if not self._take(operator):
            raise self._unexpected(repr(operator))

    def _expect_kind(self, kind: str, wanted: str) -> Token:
        if self._peek.kind != kind:
            raise self._unexpected(wanted)
        return self._advance()

    def _unexpected(self, wanted: str) -> ConditionError:
        found = f"{self._peek.text!r}" if self._peek.text else "the end"
        return ConditionError(self._position(), f"expected {wanted}, found {found}")

    def _position(self) -> Position:
        return self._peek.position
