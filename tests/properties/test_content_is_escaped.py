"""Values of content are data: the parsers of the standard library give back what was put in, and find nothing else."""

import json
import unicodedata
from html.parser import HTMLParser

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from server.domain.content import MAX_VALUE_CHARACTERS, ChannelKind
from server.domain.offer_table import infer_schema
from server.intelligence.content import ContentNames, compile_content
from tests.support.catalogs import category, offer, schema, text
from tests.support.conditions import CONTEXT
from tests.support.content import compiled, row, says

NASTY = (
    "</script><script>alert(1)</script>",
    "<!--",
    "]]>",
    "{{customer.tier|x}}",
    "\\{{",
    "}}",
    "&lt;",
    "&amp;amp;",
    "&#60",
    "&notin",
    "\" onload='x'",
    "\\",
    '\\"',
    "\\u003c",
    "\u2028\u2029",
    "\r\n",
    "\x00",
    "\x1b[31m",
    "\x85\x9f",
    "x" * 300,
)
values = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=20)), min_size=1).map("".join).filter(bool)
kinds = st.sampled_from(ChannelKind)


class Document(HTMLParser):
    """What a parser of HTML finds: every tag with its attributes, and all text."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.others: list[str] = []
        self.text = ""
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def handle_decl(self, decl: str) -> None:
        self.others.append(decl)

    def handle_pi(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)


def everywhere(before: str, after: str, value: str, kind: ChannelKind) -> str:
    """A text around a value, which must come out the same as a constant, as a category and as a text of the vault."""
    customer = schema(category("tier", value), text("first_name"))
    one = offer("one", attributes={"name": value})
    names = ContentNames(customer, CONTEXT, infer_schema([one])[0], lambda _: True)
    sources = {
        name: f"{before}{{{{{name}|-}}}}{after}" for name in ("customer.tier", "customer.first_name", "offer.name")
    }
    content, problems = compile_content(sources, one, kind, names)
    assert not problems
    variables = np.zeros(customer.width + CONTEXT.width + 1, np.float32)
    said = set(content.fill(variables).with_texts({"first_name": value}).values())
    assert len(said) == 1
    return said.pop()


@given(values)
def test_html_gives_back_the_value_and_has_no_tag_of_its_own(value: str) -> None:
    shown = value[:MAX_VALUE_CHARACTERS]

    element = Document(everywhere("<p>", "</p>", value, ChannelKind.HTML))
    attributes = Document(everywhere('<p a="', "\" b='c'>", value, ChannelKind.HTML))
    single = Document(everywhere("<p a='", "' b='c'>", value, ChannelKind.HTML))

    assert (element.text, element.tags, element.others) == (shown, [("p", [])], [])
    assert attributes.tags == single.tags == [("p", [("a", shown), ("b", "c")])]
    assert not attributes.text + single.text


@given(values)
def test_json_gives_back_the_value_and_is_safe_in_a_script(value: str) -> None:
    said = everywhere('{"a": "', '"}', value, ChannelKind.JSON)
    script = Document(f"<script>{said}</script>")

    assert json.loads(said) == {"a": value[:MAX_VALUE_CHARACTERS]}
    assert not set(said) & set("<>&\u2028\u2029")
    assert (script.text, script.tags) == (said, [("script", [])])


@given(values)
def test_text_is_the_value_without_control_characters(value: str) -> None:
    said = everywhere("", "", value, ChannelKind.TEXT)

    shown = value[:MAX_VALUE_CHARACTERS]
    readable = "".join(each for each in shown if each == "\n" or unicodedata.category(each) != "Cc")
    assert said == (readable or "-")


@given(values, values)
def test_values_that_look_like_tokens_are_not_read_again(first: str, name: str) -> None:
    said = says(
        "{{customer.first_name|}}\n{{offer.name|}}\n{{customer.last_name|}}",
        texts={"first_name": first, "last_name": "{{customer.first_name|}}"},
        attributes={"name": name},
        kind=ChannelKind.JSON,
    )

    shown = [first[:MAX_VALUE_CHARACTERS], name[:MAX_VALUE_CHARACTERS], "{{customer.first_name|}}"]
    assert [json.loads(f'"{line}"') for line in said.split("\n")] == shown


@given(values, kinds)
def test_template_is_taken_as_it_is_written(value: str, kind: ChannelKind) -> None:
    assert says(value.replace("{{", "\\{{"), kind=kind) == value


@given(st.lists(st.one_of(st.sampled_from(["{{", "}}", "{", "|", ":", "[", "]", "customer.tier", "\\", " "]), values)))
def test_any_text_is_either_compiled_or_refused(parts: list[str]) -> None:
    text = "".join(parts)
    content, problems = compiled(text)

    assert problems or content.fill(row()).with_texts({}).keys() == {"title"}
    assert problems or "{{" in text or content.content == {"title": text}


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@example(12.399999618530273)
@example(16_777_216.0)
@example(3.4028234663852886e38)
def test_number_is_written_with_the_fewest_digits_that_give_the_same_float32(value: float) -> None:
    said = says("{{customer.visits|-}}", {"visits": value})

    with np.errstate(over="ignore"):  # the largest numbers, rounded up to a digit less
        fewest = next(digits for digits in range(1, 10) if np.float32(f"{value:.{digits}g}") == np.float32(value))
    assert np.float32(said) == np.float32(value)
    assert said == "0" or len(said.lstrip("-").replace(".", "").strip("0")) <= fewest
    assert "e" not in said
    assert not ("." in said and said.endswith("0"))


@given(st.integers(-999_999, 999_999), st.integers(0, 9))
def test_formatted_number_is_the_one_that_was_set(tenths: int, digits: int) -> None:
    said = says(f"{{{{customer.visits:,.{digits}f|-}}}}", {"visits": tenths / 10})

    assert said == format(tenths / 10, f"z,.{digits}f")
