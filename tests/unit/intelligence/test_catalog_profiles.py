"""What a catalog file says about profiles: aggregates, how identifiers are joined, merge rules, texts."""

from typing import Any

import pytest

from server.domain.aggregate import Aggregate, Operation
from server.domain.attribute import Attribute, AttributeType, MergeRule
from server.domain.identity import DEFAULT_MAX_IDENTIFIERS, IdentityPolicy
from server.domain.matching import Form, MatchPart, MatchRule
from tests.support.catalogs import Document, catalog_document, compiled_catalog, offer_entry, problems_of

COUNT: Document = {"id": "n", "event": "purchase", "op": "count"}
SUM: Document = {"id": "s", "event": "purchase", "op": "sum", "property": "amount"}
DECAYED: Document = {"id": "d", "event": "purchase", "op": "decayed_sum", "property": "amount", "half_life": "60d"}
LAST: Document = {"id": "l", "event": "purchase", "op": "last"}
EMAIL: Document = {"id": "email", "type": "text"}
RULE: Document = {"id": "r", "parts": [{"attribute": "email", "form": "email"}]}


def kept(entry: Document, **more: Any) -> Attribute:
    """The attribute that an aggregate of a catalog becomes."""
    return compiled_catalog(catalog_document(aggregates=[entry | more])).customer.by_id[entry["id"]]


def aggregate_problems(entry: Document, **more: Any) -> dict[str, str]:
    return problems_of(catalog_document(aggregates=[COUNT | {"id": "fine"}, entry | more]))


def identity_problems(**identity: Any) -> dict[str, str]:
    return problems_of(catalog_document(attributes=[EMAIL, {"id": "visits", "type": "number"}], identity=identity))


@pytest.mark.parametrize(
    ("entry", "more", "expected"),
    [
        (COUNT, {}, Aggregate("purchase", Operation.COUNT)),
        (COUNT, {"window": "30d"}, Aggregate("purchase", Operation.COUNT, window_days=30)),
        (COUNT, {"window": "365d"}, Aggregate("purchase", Operation.COUNT, window_days=365)),
        (COUNT, {"window": "48h"}, Aggregate("purchase", Operation.COUNT, window_days=2)),
        (SUM, {"window": "1d"}, Aggregate("purchase", Operation.SUM, "amount", 1)),
        (DECAYED, {}, Aggregate("purchase", Operation.DECAYED_SUM, "amount", half_life_days=60.0)),
        (DECAYED, {"half_life": "12h"}, Aggregate("purchase", Operation.DECAYED_SUM, "amount", half_life_days=0.5)),
        (LAST, {}, Aggregate("purchase", Operation.LAST)),
    ],
)
def test_aggregate_is_read_as_it_says(entry: Document, more: Document, expected: Aggregate) -> None:
    assert kept(entry, **more).aggregate == expected


def test_aggregate_is_an_attribute_that_is_merged_as_its_operation_asks_for() -> None:
    types = {entry["op"]: (kept(entry).type, kept(entry).merge) for entry in (COUNT, SUM, DECAYED, LAST)}

    assert types == {
        "count": (AttributeType.NUMBER, MergeRule.SUM),
        "sum": (AttributeType.NUMBER, MergeRule.SUM),
        "decayed_sum": (AttributeType.NUMBER, MergeRule.SUM),
        "last": (AttributeType.TIMESTAMP_AGE, MergeRule.MAX),
    }


def test_keys_of_an_aggregate_are_those_of_the_offers_unless_it_has_its_own() -> None:
    offers = [offer_entry(name, attributes={"department": name}) for name in ("grocery", "floral")]
    own = COUNT | {"id": "own", "by": "department", "keys": ["tools"]}
    document = catalog_document(offers, aggregates=[COUNT | {"by": "department", "purpose": "p"}, own])

    by_id = compiled_catalog(document).customer.by_id

    assert (by_id["n"].keys, by_id["n"].purpose, by_id["own"].keys) == (("grocery", "floral"), "p", ("tools",))


def test_conditions_may_ask_for_aggregates() -> None:
    offers = [
        offer_entry("a", eligible="customer.n >= 3 && customer.l < 30"),
        offer_entry("b", eligible='customer.by["grocery"] > 1.0 && has(customer.l)'),
    ]
    by = SUM | {"id": "by", "by": "department", "keys": ["grocery"]}

    assert problems_of(catalog_document(offers, aggregates=[COUNT, LAST, by])) == {}


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        (COUNT | {"property": "amount"}, "", "count takes no property"),
        (LAST | {"property": "amount"}, "", "last takes no property"),
        ({"id": "s", "event": "e", "op": "sum"}, "", "sum needs property"),
        (COUNT | {"half_life": "3d"}, "", "count takes no half_life"),
        ({"id": "d", "event": "e", "op": "decayed_sum", "property": "x"}, "", "decayed_sum needs half_life"),
        (LAST | {"window": "3d"}, "", "last takes no window"),
        (DECAYED | {"window": "3d"}, "", "decayed_sum takes no window"),
        (COUNT | {"window": "366d"}, "", "1 to 365 whole days"),
        (COUNT | {"window": "0d"}, "", "1 to 365 whole days"),
        (COUNT | {"window": "36h"}, "", "1 to 365 whole days"),
        (COUNT | {"window": 30}, ".window", "not a duration such as 30d"),
        (COUNT | {"window": "30"}, ".window", "not a duration such as 30d"),
        (DECAYED | {"half_life": "0d"}, ".half_life", "greater than 0"),
        (DECAYED | {"half_life": "40000d"}, ".half_life", "less than or equal"),
        (COUNT | {"op": "median"}, ".op", "'count', 'sum'"),
        (COUNT | {"event": ""}, ".event", "at least 1 character"),
        (COUNT | {"id": "a.b"}, ".id", "match pattern"),
        (COUNT | {"merge": "max"}, ".merge", "not a key"),
        (COUNT | {"keys": ["x"]}, ".keys", "need `by`"),
        (COUNT | {"by": "department", "keys": ["x", "x"]}, ".keys", "twice"),
        (COUNT | {"distinct": True}, ".distinct", "not a key"),
    ],
)
def test_aggregate_that_makes_no_sense_is_refused_with_its_path(entry: Document, path: str, words: str) -> None:
    found = aggregate_problems(entry)

    assert list(found) == [f"aggregates[1]{path}"]
    assert words in found[f"aggregates[1]{path}"]


@pytest.mark.parametrize("taken", ["fine", "visits"])
def test_aggregate_whose_id_is_taken_is_refused_with_its_path(taken: str) -> None:
    assert aggregate_problems(COUNT, id=taken) == {"aggregates[1].id": f"{taken} is already taken"}


def test_every_problem_of_every_section_is_told_at_once() -> None:
    found = problems_of(
        catalog_document(
            attributes=[EMAIL | {"merge": "max"}, EMAIL],
            aggregates=[COUNT | {"window": "x"}, SUM | {"property": None}],
            identity={"max_identifiers": 1},
        )
    )

    assert found.keys() == {"attributes[0]", "aggregates[0].window", "aggregates[1]", "identity.max_identifiers"}


@pytest.mark.parametrize(
    ("type_", "values", "rules"),
    [
        ("number", None, {"latest", "max", "sum"}),
        ("timestamp_age", None, {"latest", "max"}),
        ("set", ["x"], {"latest", "union"}),
        ("boolean", None, {"latest"}),
        ("category", ["x"], {"latest"}),
        ("text", None, {"latest"}),
    ],
)
def test_attribute_may_be_merged_by_what_fits_its_type(type_: str, values: list[str] | None, rules: set[str]) -> None:
    allowed = set()
    for rule in MergeRule:
        entry: Document = {"id": "x", "type": type_, "merge": rule.value} | ({"values": values} if values else {})
        found = problems_of(catalog_document(attributes=[entry]))
        if not found:
            allowed.add(rule.value)
        else:
            assert found == {"attributes[0]": f"a {type_} cannot be merged by {rule.value}"}

    assert allowed == rules


def test_sets_are_merged_by_union_and_anything_else_by_time_unless_told_otherwise() -> None:
    attributes = compiled_catalog(catalog_document()).customer.attributes

    assert {attribute.id for attribute in attributes if attribute.merge is MergeRule.UNION} == {"tags"}
    assert {attribute.merge for attribute in attributes if attribute.id != "tags"} == {MergeRule.LATEST}


def test_text_has_no_column() -> None:
    customer = compiled_catalog(catalog_document(attributes=[EMAIL, {"id": "visits", "type": "number"}])).customer

    assert (list(customer.columns), customer.by_id["email"].type) == (["visits"], AttributeType.TEXT)


@pytest.mark.parametrize(
    ("more", "path"),
    [({"values": ["x"]}, "attributes[0].values"), ({"by": "department"}, "attributes[0]")],
)
def test_text_has_no_values_and_no_keys(more: Document, path: str) -> None:
    assert path in problems_of(catalog_document(attributes=[EMAIL | more]))


def test_context_has_no_texts() -> None:
    assert "context[0]" in problems_of(catalog_document(context=[EMAIL]))


@pytest.mark.parametrize("condition", ['customer.email == "x"', "has(customer.email)"])
def test_conditions_cannot_ask_for_texts(condition: str) -> None:
    found = problems_of(catalog_document([offer_entry("a", eligible=condition)], attributes=[EMAIL]))

    assert list(found) == ["offers[0].eligible"]


def test_identifiers_are_joined_by_nobody_but_callers_unless_told_otherwise() -> None:
    assert compiled_catalog(catalog_document()).identity == IdentityPolicy(DEFAULT_MAX_IDENTIFIERS, ())


def test_match_rules_are_read_as_they_say() -> None:
    parts = [{"attribute": "name", "form": "name", "first": 3}, {"attribute": "born", "form": "date"}]
    document = catalog_document(
        attributes=[{"id": name, "type": "text"} for name in ("name", "born")],
        identity={"max_identifiers": 8, "match": [{"id": "name_and_birthday", "parts": parts}]},
    )

    rule = MatchRule("name_and_birthday", (MatchPart("name", Form.NAME, 3), MatchPart("born", Form.DATE)))
    assert compiled_catalog(document).identity == IdentityPolicy(8, (rule,))


@pytest.mark.parametrize("form", [form.value for form in Form])
def test_every_normal_form_may_be_asked_for(form: str) -> None:
    assert identity_problems(match=[{"id": "r", "parts": [{"attribute": "email", "form": form}]}]) == {}


@pytest.mark.parametrize(
    ("identity", "path", "words"),
    [
        ({"max_identifiers": 1}, "identity.max_identifiers", "greater than or equal to 2"),
        ({"max_identifiers": 1_001}, "identity.max_identifiers", "less than or equal to 1000"),
        ({"max_identifiers": "8"}, "identity.max_identifiers", "valid integer"),
        ({"rules": []}, "identity.rules", "not "),
        ({"match": [{"id": "r", "parts": []}]}, "identity.match[0].parts", "at least 1 item"),
        ({"match": [RULE | {"score": 1}]}, "identity.match[0].score", "not a key"),
        (
            {"match": [{"id": "r", "parts": [{"attribute": "email", "form": "mail"}]}]},
            "identity.match[0].parts[0].form",
            "is none of email, phone",
        ),
        (
            {"match": [{"id": "r", "parts": [{"attribute": "email", "form": "email", "first": 0}]}]},
            "identity.match[0].parts[0].first",
            "greater than or equal to 1",
        ),
        (
            {"match": [RULE, {"id": "q", "parts": [{"attribute": "visits", "form": "text"}]}]},
            "identity.match[1].parts[0].attribute",
            "visits is not a text attribute",
        ),
        (
            {"match": [{"id": "q", "parts": [*RULE["parts"], {"attribute": "phone", "form": "phone"}]}]},
            "identity.match[0].parts[1].attribute",
            "phone is not a text attribute",
        ),
    ],
)
def test_identity_that_makes_no_sense_is_refused_with_its_path(identity: Document, path: str, words: str) -> None:
    found = identity_problems(**identity)

    assert list(found) == [path]
    assert words in found[path]


def test_id_of_a_match_rule_is_its_own() -> None:
    assert list(identity_problems(match=[RULE, RULE])) == ["identity.match[1].id"]
