import pytest

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
    walk,
)
from server.intelligence.conditions.lexer import MAX_BYTES
from server.intelligence.conditions.parser import MAX_DEPTH, MAX_ITEMS, MAX_OPERATIONS, MAX_TESTS, parse


def shape(node: Expression) -> object:  # noqa: PLR0911, PLR0912 - one for each kind of node
    """A tree without positions, as nested tuples."""
    match node:
        case Literal(value=value):
            return value
        case Items(items=items):
            return [item.value for item in items]
        case Name(root=root, attribute=attribute, key=None):
            return f"{root}.{attribute}"
        case Name(root=root, attribute=attribute, key=Literal(value=key)):
            return f"{root}.{attribute}[{key!r}]"
        case Name(root=root, attribute=attribute, key=Name() as key):
            return f"{root}.{attribute}[{shape(key)}]"
        case Has(name=name):
            return ("has", shape(name))
        case Not(operand=operand):
            return ("!", shape(operand))
        case Negative(operand=operand):
            return ("-", shape(operand))
        case Instant(time_us=number):
            return ("timestamp", number)
        case Duration(duration_us=number):
            return ("duration", number)
        case TextTest(function=function, subject=subject, argument=argument):
            return (function, shape(subject), shape(argument))
        case Arithmetic(operator=operator, left=left, right=right):
            return (operator, shape(left), shape(right))
        case Comparison(operator=operator, left=left, right=right):
            return (operator, shape(left), shape(right))
        case Logic(operator=operator, operands=operands):
            return (operator, *(shape(operand) for operand in operands))
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("customer.a", "customer.a"),
        ("customer.a == 1", ("==", "customer.a", 1.0)),
        ("1 <= customer.a", ("<=", 1.0, "customer.a")),
        ("customer.a > -2.5e-1", (">", "customer.a", -0.25)),
        ("customer.a in ['x', \"y\"]", ("in", "customer.a", ["x", "y"])),
        ("customer.a in []", ("in", "customer.a", [])),
        ("'x' in customer.a", ("in", "x", "customer.a")),
        ("customer.a['k'] < 1", ("<", "customer.a['k']", 1.0)),
        ("customer.a[offer.b] < 1", ("<", "customer.a[offer.b]", 1.0)),
        ("has(customer.a)", ("has", "customer.a")),
        ("!customer.a", ("!", "customer.a")),
        ("!!customer.a", ("!", ("!", "customer.a"))),
        ("true && false", ("&&", True, False)),
        ("customer.in == true", ("==", "customer.in", True)),
        ("customer.a in [-1, - 2.5]", ("in", "customer.a", [-1.0, -2.5])),
        ("1 - -2 < o.a", ("<", ("-", 1.0, -2.0), "o.a")),
        ("1 -2 < o.a", ("<", ("-", 1.0, 2.0), "o.a")),
        ("-o.a < --3", ("<", ("-", "o.a"), 3.0)),
        ("o.a + 1 in [2]", ("in", ("+", "o.a", 1.0), [2.0])),
        ("duration(\"1.5s\") < duration('2s')", ("<", ("duration", 1_500_000.0), ("duration", 2_000_000.0))),
        ('timestamp("1970-01-01T00:00:01Z") < o.a', ("<", ("timestamp", 1_000_000.0), "o.a")),
        ('o.a.startsWith("x")', ("startsWith", "o.a", "x")),
        ('!o.a["k"].matches(r"\\d")', ("!", ("matches", "o.a['k']", r"\d"))),
        ("'abc'.endsWith(o.a) && (o.b).contains(R'c')", ("&&", ("endsWith", "abc", "o.a"), ("contains", "o.b", "c"))),
        ("o.has == 1 && o.duration == 2", ("&&", ("==", "o.has", 1.0), ("==", "o.duration", 2.0))),
        ("duration.a == 1", ("==", "duration.a", 1.0)),
    ],
)
def test_text_becomes_a_tree(text: str, tree: object) -> None:
    assert shape(parse(text)) == tree


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("o.a && o.b || o.c", "(o.a && o.b) || o.c"),
        ("o.a || o.b && o.c", "o.a || (o.b && o.c)"),
        ("!o.a && o.b", "(!o.a) && o.b"),
        ("o.a == 1 && o.b", "(o.a == 1) && o.b"),
        ("!o.a == true", "(!o.a) == true"),
        ("o.a&&o.b", "o.a  \n && \t o.b"),
        ("o.a + o.b * o.c < 1", "(o.a + (o.b * o.c)) < 1"),
        ("o.a - o.b - o.c < 1", "((o.a - o.b) - o.c) < 1"),
        ("o.a / o.b * o.c < 1", "((o.a / o.b) * o.c) < 1"),
        ("-o.a * o.b < 1", "((-o.a) * o.b) < 1"),
        ("o.a < o.b + 1 && o.c", "(o.a < (o.b + 1)) && o.c"),
        ("o.a-1 < 1", "o.a - 1 < 1"),
    ],
)
def test_precedence_is_that_of_cel(text: str, same_as: str) -> None:
    assert shape(parse(text)) == shape(parse(same_as))


def test_operands_of_one_operator_stay_together_with_their_texts() -> None:
    tree = parse("o.a == 1 && (o.b || o.c) &&  !o.d")

    assert isinstance(tree, Logic)
    assert tree.texts == ("o.a == 1", "(o.b || o.c)", "!o.d")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"a\"b"', 'a"b'),
        (r"'a\'b'", "a'b"),
        (r'"a\\b"', "a\\b"),
        (r'"a\nb\tc\rd"', "a\nb\tc\rd"),
        ('"é漢"', "é漢"),
        ('""', ""),
    ],
)
def test_quoted_text_is_unescaped(text: str, value: str) -> None:
    tree = parse(f"o.a == {text}")

    assert isinstance(tree, Comparison)
    assert isinstance(tree.right, Literal)
    assert tree.right.value == value


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", "1:1", "expected an attribute or a value, found the end"),
        ("customer.a ==", "1:14", "found the end"),
        ("customer.a = 1", "1:12", "cannot read '='"),
        ("customer", "1:9", "expected '.'"),
        ("customer.", "1:10", "expected an attribute after customer."),
        ("customer.a && && customer.b", "1:15", "found '&&'"),
        ("customer.a\n  customer.b", "2:3", "expected an operator or the end"),
        ("(customer.a", "1:12", "expected ')'"),
        ("customer.a)", "1:11", "expected an operator or the end"),
        ("1 < customer.a < 2", "1:16", "do not chain"),
        ("customer.a in [customer.b]", "1:16", "expected an attribute or a value, found 'customer'"),
        ("customer.a in [1 2]", "1:18", "expected ','"),
        ('customer.a == "open', "1:15", "cannot read '\"'"),
        (r'customer.a == "\q"', "1:15", "unknown escape"),
        ("has customer.a", "1:5", "expected '('"),
        ("size(o.a) > 1", "1:1", "unknown function size; there are has, timestamp and duration"),
        ("hass(o.a)", "1:1", "did you mean has?"),
        ("startsWith(o.a, 'b')", "1:1", "write startsWith behind a text"),
        ("o.a.startwith('b')", "1:5", "unknown function startwith; did you mean startsWith?"),
        ("o.a.size() > 1", "1:5", "there are startsWith, endsWith, contains, matches"),
        ("o.a.startsWith 'b'", "1:16", "expected '('"),
        ("o.startsWith('b')", "1:3", "startsWith tests an attribute: o.<attribute>.startsWith"),
        ("duration(5) > o.a", "1:10", "expected a text in quotes"),
        ('o.a < duration("5d")', "1:16", "unknown unit d; a day is 24h"),
        ('o.a < timestamp("today")', "1:17", "a timestamp is written like"),
        ("o.a in [-'b']", "1:10", "expected a number"),
        ("o.a < 1e999", "1:7", "1e999 is too large"),
        ("o.a < -1e999", "1:8", "1e999 is too large"),
        ("o.a in [1e999]", "1:9", "1e999 is too large"),
        ("o.a % 2 == 0", "1:5", "cannot read '%'"),
        ("1 + < o.a", "1:5", "found '<'"),
        ("has(1)", "1:5", "a name such as"),
        ("customer.a[", "1:12", "found the end"),
        ("customer.a == 1 ? true : false", "1:17", "cannot read '?'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_line_and_column(text: str, position: str, words: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse(text)

    assert str(refused.value.position) == position
    assert words in refused.value.description


def test_nesting_is_bounded() -> None:
    deep = "(" * (MAX_DEPTH - 1) + "o.a" + ")" * (MAX_DEPTH - 1)

    parse(deep)

    with pytest.raises(ConditionError, match="levels deep"):
        parse(f"({deep})")
    with pytest.raises(ConditionError, match="levels deep"):
        parse("!" * 1_000 + "o.a")


def test_length_is_bounded_in_bytes() -> None:
    text = 'o.a == "' + "x" * (MAX_BYTES - 9) + '"'

    parse(text)

    with pytest.raises(ConditionError, match="at most"):
        parse(text.replace("x", "ä", 1))


def test_lists_are_bounded() -> None:
    items = ",".join("1" * 1 for _ in range(MAX_ITEMS))

    parse(f"o.a in [{items}]")

    with pytest.raises(ConditionError, match="at most 1,000 items"):
        parse(f"o.a in [{items},1]")


def test_positions_count_lines_and_columns_from_one() -> None:
    tree = parse("true &&\n customer.a == 1")

    assert isinstance(tree, Logic)
    assert tree.position == Position(1, 1)
    assert tree.operands[1].position == Position(2, 13)


def test_chains_of_operators_are_bounded() -> None:
    chain = "1 < " + " + ".join("1" for _ in range(MAX_OPERATIONS + 1))

    parse(chain)

    with pytest.raises(ConditionError, match=r"1:\d+: a condition has at most 64 of"):
        parse(chain + " * 1")


def test_tests_of_texts_are_bounded() -> None:
    tests = " || ".join("o.a.contains('x')" for _ in range(MAX_TESTS))

    parse(tests)

    with pytest.raises(ConditionError, match="a condition tests at most 16 texts"):
        parse(f"{tests} && o.a.matches('x')")


def test_walk_finds_every_name() -> None:
    text = """
        (-o.a + o.b * 2 in [1] || has(o.c)) && !o.d.matches(o.e) && o.f[o.g] < duration("1h") && o.h["k"] in o.i
    """

    names = [node.attribute for node in walk(parse(text)) if isinstance(node, Name)]

    assert names == list("abcdefghi")
