"""Parses conditions by recursive descent, one method for each level of CEL's precedence."""

from collections.abc import Callable

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
    Position,
    TextTest,
)
from server.intelligence.conditions import texts
from server.intelligence.conditions.lexer import Token, tokens, unquote
from server.intelligence.conditions.suggestions import suggestion
from server.intelligence.conditions.times import duration_us, timestamp_us

MAX_DEPTH = 32
MAX_ITEMS = 1_000
MAX_OPERATIONS = 64
"""How many `+ - * /` a condition may have: a chain of them nests as deep as it is long."""

MAX_TESTS = 16
"""How many functions of texts a condition may have: each runs on every value that its attribute declares."""

_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_BOOLEANS = {"true": True, "false": False}
_FUNCTIONS = ("has", "timestamp", "duration")


def parse(text: str) -> Expression:
    """The syntax tree of a condition.

    Raises:
        ConditionError: the text is not a condition, nests deeper than 32 levels, computes with more than 64
            operators, or tests more than 16 texts.
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._next = 0
        self._depth = 0
        self._operations = 0
        self._tests = 0

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
        left = self._sum()
        token = self._peek
        if token.text not in _COMPARISONS or token.kind == "text":
            return left
        self._next += 1
        comparison = Comparison(token.position, token.text, left, self._sum())
        if self._peek.text in _COMPARISONS and self._peek.kind != "text":
            raise ConditionError(self._peek.position, "comparisons do not chain; join two with &&")
        return comparison

    def _sum(self) -> Expression:
        return self._arithmetic("+-", self._product)

    def _product(self) -> Expression:
        return self._arithmetic("*/", self._unary)

    def _arithmetic(self, operators: str, operand: Callable[[], Expression]) -> Expression:
        result = operand()
        while self._peek.kind == "operator" and self._peek.text in operators:
            token = self._advance()
            self._operations += 1
            if self._operations > MAX_OPERATIONS:
                raise ConditionError(token.position, f"a condition has at most {MAX_OPERATIONS} of + - * /")
            result = Arithmetic(token.position, token.text, result, operand())
        return result

    def _unary(self) -> Expression:
        position = self._peek.position
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(position, f"a condition nests at most {MAX_DEPTH} levels deep")
        if self._take("!"):
            expression: Expression = Not(position, self._unary())
        elif self._take("-"):
            expression = _negative(position, self._unary())
        else:
            expression = self._tested(self._primary())
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
        if token.kind == "name" and token.text not in _BOOLEANS and token.text != "in":
            return self._call() if self._is_call(1) or self._is_has() else self._name()
        return self._literal()

    def _call(self) -> Expression:
        token = self._advance()
        if token.text == "has":
            return self._has(token.position)
        if token.text in texts.FUNCTIONS:
            raise ConditionError(token.position, f'write {token.text} behind a text: customer.tier.{token.text}("…")')
        if token.text not in _FUNCTIONS:
            near = suggestion(token.text, (*_FUNCTIONS, *texts.FUNCTIONS))
            near = near or "; there are has, timestamp and duration"
            raise ConditionError(token.position, f"unknown function {token.text}{near}")
        self._expect("(")
        text = self._expect_kind("text", "a text in quotes")
        self._expect(")")
        try:
            if token.text == "duration":
                return Duration(token.position, duration_us(unquote(text)))
            return Instant(token.position, timestamp_us(unquote(text)))
        except ValueError as problem:
            raise ConditionError(text.position, str(problem)) from None

    def _tested(self, subject: Expression) -> Expression:
        """A text with the function that tests it, if one follows."""
        if not self._take("."):
            return subject
        function = self._expect_kind("name", "a function such as startsWith")
        if function.text not in texts.FUNCTIONS:
            near = suggestion(function.text, texts.FUNCTIONS) or f"; there are {', '.join(texts.FUNCTIONS)}"
            raise ConditionError(function.position, f"unknown function {function.text}{near}")
        self._tests += 1
        if self._tests > MAX_TESTS:
            raise ConditionError(function.position, f"a condition tests at most {MAX_TESTS} texts")
        self._expect("(")
        argument = self._sum()
        self._expect(")")
        return TextTest(function.position, function.text, subject, argument)

    def _items(self) -> Items:
        position = self._advance().position
        items: list[Literal] = []
        while not self._take("]"):
            if items:
                self._expect(",")
            items.append(self._item())
            if len(items) > MAX_ITEMS:
                raise ConditionError(position, f"a list has at most {MAX_ITEMS:,} items")
        return Items(position, tuple(items))

    def _item(self) -> Literal:
        position = self._peek.position
        if not self._take("-"):
            return self._literal()
        if self._peek.kind != "number":
            raise self._unexpected("a number")
        return Literal(position, -self._number())

    def _has(self, position: Position) -> Has:
        self._expect("(")
        name = self._name()
        self._expect(")")
        return Has(position, name)

    def _name(self) -> Name:
        root = self._expect_kind("name", "a name such as customer.tier")
        self._expect(".")
        attribute = self._expect_kind("name", f"an attribute after {root.text}.")
        if self._is_call() and attribute.text in texts.FUNCTIONS:
            example = f"{root.text}.<attribute>.{attribute.text}(…)"
            raise ConditionError(attribute.position, f"{attribute.text} tests an attribute: {example}")
        key: Name | Literal | None = None
        if self._take("["):
            key = self._name() if self._peek.kind == "name" else self._literal()
            self._expect("]")
        return Name(root.position, root.text, attribute.text, key)

    def _literal(self) -> Literal:
        token = self._peek
        if token.kind == "number":
            return Literal(token.position, self._number())
        if token.kind == "text":
            return Literal(self._advance().position, unquote(token))
        if token.text in _BOOLEANS:
            return Literal(self._advance().position, _BOOLEANS[token.text])
        raise self._unexpected("an attribute or a value")

    def _number(self) -> float:
        token = self._advance()
        number = float(token.text)
        if number == float("inf"):
            raise ConditionError(token.position, f"{token.text} is too large a number")
        return number

    def _is_call(self, ahead: int = 0) -> bool:
        """Whether the name before the token that is so many ahead is that of a function."""
        token = self._tokens[self._next + ahead]
        return token.kind == "operator" and token.text == "("

    def _is_has(self) -> bool:
        """Whether `has` is meant as the function even without its parenthesis, and not as a root of names."""
        return self._peek.text == "has" and self._tokens[self._next + 1].text != "."

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


def _negative(position: Position, operand: Expression) -> Expression:
    """A negative number is a number; what else is negated is computed."""
    if isinstance(operand, Literal) and isinstance(operand.value, float):
        return Literal(position, -operand.value)
    return Negative(position, operand)
