import pickle
from datetime import timedelta

import numpy as np
import pytest

from server.domain.attribute import Value
from server.domain.content import MAX_VALUE_CHARACTERS, ChannelKind
from server.domain.offer_table import infer_schema
from server.intelligence.content import ContentNames, compile_content
from tests.support.catalogs import offer, schema, text
from tests.support.clock import NOON
from tests.support.conditions import CONTEXT
from tests.support.content import CUSTOMER, MANY, compiled, problems_of, row, says


def test_tokens_are_filled_from_customer_context_and_offer() -> None:
    text = "{{customer.tier|friend}}: {{offer.level:.0%}} off on your {{context.device|screen}}!"

    assert says(text, {"tier": "silver"}, context={"device": "phone"}) == "silver: 20% off on your phone!"


def test_missing_value_reads_as_its_default() -> None:
    text = (
        "{{customer.tier|a}} {{customer.visits|b}} {{customer.member|c}} {{customer.last_visit|d}} {{customer.tags|e}}"
    )

    assert says(f"{text} {{{{context.hour|f}}}}") == "a b c d e f"


def test_default_is_taken_as_it_is_written_and_may_be_empty() -> None:
    assert says("Hi{{customer.tier|}}!") == "Hi!"
    assert says('{{customer.tier|<b>you & "me"</b> | all}}', kind=ChannelKind.HTML) == '<b>you & "me"</b> | all'
    assert says("{{customer.first_name|<i>you</i>}}", kind=ChannelKind.HTML) == "<i>you</i>"


def test_template_text_is_taken_as_it_is_written() -> None:
    assert says("<b>{{offer.id}}</b> & }} {x}\r", kind=ChannelKind.HTML) == "<b>one</b> & }} {x}\r"


def test_spaces_may_stand_around_the_parts() -> None:
    assert says("{{ customer.visits : .2f | none }}", {"visits": 2.0}) == "2.00"
    assert says("{{\n customer.spend [ grocery ] | none }}") == "none"


def test_backslash_keeps_braces() -> None:
    assert says("\\{{customer.tier}} {{offer.id}}") == "{{customer.tier}} one"
    assert compiled("\\{{customer.tier}}")[0].is_static


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12.4, "12.4"),
        (3.0, "3"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (16_777_217.5, "16777218"),
        (1e20, "100000000000000000000"),
        (0.00001, "0.00001"),
        (-1234.5, "-1234.5"),
    ],
)
def test_number_without_format_has_no_noise_and_no_exponent(value: float, text: str) -> None:
    assert says("{{customer.visits|-}}", {"visits": value}) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1 + 0.2, "0.3"), (12.0, "12"), (2 / 3, "0.666666666666667"), (1e20, "100000000000000000000"), (-0.0, "0")],
)
def test_number_of_an_offer_has_at_most_15_digits(value: float, text: str) -> None:
    assert says("{{offer.level}}", attributes={"level": value}) == text


@pytest.mark.parametrize(
    ("format_", "value", "text"),
    [
        (".2f", 12.4, "12.40"),
        (".9f", 12.4, "12.400000000"),
        (".0f", 12.6, "13"),
        (".0%", 0.2, "20%"),
        (".1%", 0.125, "12.5%"),
        (",.2f", 1234567.0, "1,234,567.00"),
        (",.2f", 1234.5, "1,234.50"),
        ("d", 2.7, "3"),
        (",d", 12345.6, "12,346"),
        ("d", -0.2, "0"),
        ("f", 1.5, "1.500000"),
    ],
)
def test_format_of_a_number(format_: str, value: float, text: str) -> None:
    assert says(f"{{{{customer.visits:{format_}|-}}}}", {"visits": value}) == text
    assert says(f"{{{{offer.level:{format_}}}}}", attributes={"level": value}) == text


@pytest.mark.parametrize(
    "format_", ["", "x", ".2", "2f", ".10f", ".2d", "e", "g", "_d", "+d", ">9", "%%", ".2f ,", "{}", ".²f"]
)
def test_no_other_format_is_known(format_: str) -> None:
    (problem,) = problems_of(f"ab {{{{customer.visits:{format_}|-}}}}")

    assert problem.startswith(f"title: 1:4: unknown format {':' + format_!r}")


@pytest.mark.parametrize(
    "name", ["customer.tier", "customer.tags", "customer.member", "customer.last_visit", "offer.id"]
)
def test_only_numbers_have_formats(name: str) -> None:
    (problem,) = problems_of(f"{{{{{name}:d|-}}}}")

    assert "only numbers have formats" in problem


def test_truth_values_are_words() -> None:
    assert says("{{customer.member|-}} {{offer.promo}}", {"member": True}) == "true false"
    assert says("{{customer.member|-}}", {"member": False}) == "false"


def test_set_is_a_list_of_its_members() -> None:
    assert says("{{customer.tags|-}}", {"tags": ("student", "vegan")}) == "vegan, student"
    assert says("{{offer.for}}") == "vegan, gold"


def test_set_with_more_members_than_a_column_holds() -> None:
    shown = ("m0", "m23", "m24", "m59")

    assert says("{{customer.many|-}}", {"many": shown}) == "m0, m23, m24, m59"
    assert says("{{customer.many|-}}", {"many": MANY}) == ", ".join(MANY)[:MAX_VALUE_CHARACTERS]


def test_empty_value_reads_as_the_default() -> None:
    assert says("{{customer.tags|nothing}}", {"tags": ()}) == "nothing"
    assert says("{{customer.first_name|you}}", texts={"first_name": ""}) == "you"
    assert says("{{offer.for|all}}", attributes={"for": ()}) == "all"


def test_value_of_which_nothing_can_be_shown_reads_as_the_default() -> None:
    assert says("{{customer.first_name|you}}", texts={"first_name": "\x00\x1b"}) == "you"
    assert says("{{offer.name|ours}}", attributes={"name": "\t"}) == "ours"


def test_time_is_its_age_in_whole_days() -> None:
    assert says("{{customer.last_visit|-}}", {"last_visit": NOON - timedelta(days=3, hours=20)}) == "3"
    assert says("{{customer.last_visit|-}}", {"last_visit": NOON + timedelta(hours=2)}) == "0"


def test_aggregates_are_attributes_too() -> None:
    assert says("{{customer.orders|-}} {{customer.last_order|never}}") == "0 never"


def test_keyed_cell_is_named_by_its_key_or_by_the_offer() -> None:
    spent: dict[str, Value] = {"spend.grocery": 5.0, "spend.floral": 7.5, "spend.a | b": 9.0}

    assert says("{{customer.spend[floral]:.2f|0}}", spent) == "7.50"
    assert says('{{customer.spend["floral"]|0}}', spent) == "7.5"
    assert says("{{customer.spend[a | b]|0}}", spent) == "9"
    assert says("{{customer.spend[offer.department]|0}}", spent) == "5"


def test_cell_of_an_offer_without_the_key_is_missing_for_everybody() -> None:
    content, problems = compiled("{{customer.spend[offer.department]|none}}", attributes={"department": "tools"})

    assert not problems
    assert content.is_static
    assert content.content == {"title": "none"}
    assert says("{{customer.spend[offer.department]|none}}", {"spend.grocery": 5.0}, attributes={}) == "none"


def test_offer_has_an_id_and_a_tactic_unless_its_attributes_have_these_names() -> None:
    assert says("{{offer.id}} {{offer.tactic}}") == "one discount"
    assert says("{{offer.id}}", attributes={"id": "mine"}) == "mine"


def test_attribute_that_this_offer_lacks_reads_as_its_default() -> None:
    assert says("{{offer.name|our best}}") == "our best"


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("a {{", "1:3", "is not closed"),
        ("{{customer.tier|x} }", "1:1", "is not closed"),
        ("a\nbc {{customer.tier {{offer.id}}", "2:4", "not closed before the next one opens"),
        ("{{customer.tier|{{offer.id}}}}", "1:1", "not closed before the next one opens"),
        ("{{}}", "1:1", "the token is empty"),
        ("{{  |x}}", "1:1", "cannot read"),
        ("{{customer}}", "1:1", "cannot read 'customer'"),
        ("{{customer.tier!|x}}", "1:1", "cannot read '!'"),
        ("{{customer.tier.name|x}}", "1:1", "cannot read '.name'"),
        ("{{customer.visits x.2f|1}}", "1:1", "cannot read 'x.2f'"),
        ("{{custmer.tier|x}}", "1:1", "unknown name custmer; did you mean customer?"),
        ("{{customer.teir|x}}", "1:1", "unknown attribute customer.teir; did you mean customer.tier?"),
        ("{{context.devise|x}}", "1:1", "unknown attribute context.devise; did you mean context.device?"),
        ("{{offer.levle|x}}", "1:1", "unknown attribute offer.levle; did you mean offer.level?"),
        ("{{offer.tactics}}", "1:1", "unknown attribute offer.tactics; did you mean offer.tactic?"),
        ("{{history.visits|x}}", "1:1", "unknown name history"),
        ("{{customer.spend|0}}", "1:1", "customer.spend is keyed: write customer.spend[offer.department]"),
        ("{{customer.tier[x]|0}}", "1:1", "customer.tier is not keyed: write customer.tier"),
        ("{{customer.spend[grocry]|0}}", "1:1", "customer.spend has no key 'grocry'; did you mean grocery?"),
        ("{{customer.spend[]|0}}", "1:1", "customer.spend has no key ''"),
        ("{{customer.spend[offer.departmnt]|0}}", "1:1", "unknown attribute offer.departmnt"),
        ("{{customer.spend[offer.level]|0}}", "1:1", "a key is a text, and offer.level is a number"),
        ("{{customer.tier}}", "1:1", "customer.tier may be missing: give a default"),
        ("{{context.device}}", "1:1", "context.device may be missing: give a default"),
        ("{{customer.first_name}}", "1:1", "customer.first_name may be missing: give a default"),
        ("{{offer.name}}", "1:1", "offer.name is missing in this offer: give a default"),
        ("{{customer.income|0}}", "1:1", "customer.income may not be shown: declare it with content: true"),
    ],
)
def test_token_that_cannot_be_filled_is_a_problem(text: str, position: str, words: str) -> None:
    (problem,) = problems_of(text)

    assert problem.startswith(f"title: {position}: ")
    assert words in problem


def test_only_customers_have_identifying_texts() -> None:
    one = offer("one")
    names = ContentNames(schema(), schema(text("first_name")), infer_schema([one])[0], lambda _: True)

    _, problems = compile_content({"title": "{{context.first_name|you}}"}, one, ChannelKind.TEXT, names)

    assert [str(problem) for problem in problems] == [
        "title: 1:1: context.first_name is identifying text, which only customers have"
    ]


def test_every_problem_is_told_in_the_order_of_the_text() -> None:
    problems = problems_of("{{customer.income:x|1}}{{customer.income}} {{x}} \\{{ {{offer.id}} {{context.hour}}")

    assert [problem.split(": ")[1] for problem in problems] == ["1:1", "1:24", "1:24", "1:44", "1:67"]


def test_text_of_the_vault_is_left_open_until_the_end() -> None:
    content, problems = compiled("{{customer.first_name|you}} ({{customer.tier|-}}) {{customer.first_name|x}}")

    filled = content.fill(row({"tier": "silver"}))

    assert not problems
    assert content.texts == ("first_name",)
    assert "title" not in filled.content
    assert filled.with_texts({"first_name": "Ada", "last_name": "L."}) == {"title": "Ada (silver) Ada"}
    assert filled.with_texts({}) == {"title": "you (silver) x"}


def test_all_texts_that_a_creative_needs_are_told_once() -> None:
    content, _ = compiled("{{customer.last_name|}}{{customer.first_name|}}{{customer.last_name|}}")

    assert content.texts == ("last_name", "first_name")


def test_value_that_looks_like_a_token_stays_as_it_is() -> None:
    token = "{{customer.last_name|x}}"

    said = says("{{customer.first_name|}} {{offer.name}}", texts={"first_name": token}, attributes={"name": token})

    assert said == f"{token} {token}"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (ChannelKind.HTML, '"R&amp;D &lt;b&gt;" "a&quot;&#x27;\t" "&lt;/b&gt;\n"'),
        (ChannelKind.TEXT, '"R&D <b>" "a"\'" "</b>\n"'),
        (ChannelKind.JSON, '"R\\u0026D \\u003cb\\u003e" "a\\"\'\\u0009" "\\u003c/b\\u003e\\u000a"'),
    ],
)
def test_values_are_escaped_for_the_kind_of_channel(kind: ChannelKind, said: str) -> None:
    text = '"{{customer.tier|-}}" "{{offer.name}}" "{{customer.first_name|-}}"'
    name, texts = "a\"'\t", {"first_name": "</b>\n"}

    assert says(text, {"tier": "R&D <b>"}, attributes={"name": name}, texts=texts, kind=kind) == said


def test_long_value_is_cut_before_it_is_escaped() -> None:
    long = "<" * 300

    assert says("{{customer.first_name|-}}", texts={"first_name": long}) == "<" * 256
    assert says("{{offer.name}}", attributes={"name": long}, kind=ChannelKind.HTML) == "&lt;" * 256


def test_content_without_open_tokens_is_static() -> None:
    plain = {"title": "10 % off", "body": "all of it"}
    one = offer("one")
    names = ContentNames(CUSTOMER, CONTEXT, infer_schema([one])[0], lambda _: True)

    untouched, _ = compile_content(plain, one, ChannelKind.HTML, names)
    constant, _ = compile_content({**plain, "code": "{{offer.id}}!"}, one, ChannelKind.HTML, names)

    assert untouched.is_static
    assert untouched.content is plain
    assert constant.is_static
    assert constant.content == {**plain, "code": "one!"}
    assert constant.fill(row()).with_texts({}) == constant.content


def test_parts_are_filled_each_for_itself() -> None:
    one = offer("one")
    names = ContentNames(CUSTOMER, CONTEXT, infer_schema([one])[0], lambda _: True)
    parts = {"a": "{{customer.first_name|you}}", "b": "{{customer.tier|-}}", "c": "{{offer.id}}", "d": "{{x}}"}

    content, problems = compile_content(parts, one, ChannelKind.TEXT, names)
    filled = content.fill(row({"tier": "basic"}))

    assert [problem.path for problem in problems] == ["d"]
    assert filled.content == {"b": "basic", "c": "one", "d": ""}
    assert filled.with_texts({"first_name": "Ada"}) == {"a": "Ada", "b": "basic", "c": "one", "d": ""}


def test_number_that_is_not_finite_reads_as_missing() -> None:
    content, _ = compiled("{{customer.visits:d|none}}")
    variables = row()
    variables[CUSTOMER.columns["visits"]] = np.inf

    assert content.fill(variables).content == {"title": "none"}


def test_compiled_and_filled_content_can_be_pickled() -> None:
    text = "{{customer.tier|-}} {{customer.many|-}} {{customer.visits:.2f|-}} {{customer.first_name|-}}"
    content, _ = compiled(text, ChannelKind.HTML)
    variables = row({"tier": "R&D <b>", "many": ("m1",), "visits": 2.0})

    loaded = pickle.loads(pickle.dumps(content))
    filled = pickle.loads(pickle.dumps(loaded.fill(variables)))

    assert filled.with_texts({"first_name": "<"}) == {"title": "R&amp;D &lt;b&gt; m1 2.00 &lt;"}
