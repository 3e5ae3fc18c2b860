from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from server.domain.attribute import Attribute, AttributeType
from server.domain.offer import Offer
from server.domain.offer_table import GIVEN, OfferTable, infer_schema
from tests.support.catalogs import offer


def table(*offers: Offer) -> OfferTable:
    laid_out, fitting, problems = infer_schema(offers)
    assert not problems
    return OfferTable.of(fitting, laid_out)


def test_types_are_inferred_from_the_first_value() -> None:
    laid_out, _, problems = infer_schema(
        [offer("a", attributes={"level": 1.0, "dept": "x"}), offer("b", attributes={"promo": True, "tags": ("y",)})]
    )

    assert not problems
    assert {a.id: a.type for a in laid_out.attributes if a.id not in GIVEN} == {
        "level": AttributeType.NUMBER,
        "dept": AttributeType.CATEGORY,
        "promo": AttributeType.BOOLEAN,
        "tags": AttributeType.SET,
    }


def test_value_of_another_type_is_a_problem_and_left_out() -> None:
    _, fitting, problems = infer_schema(
        [offer("a", attributes={"level": 1.0}), offer("b", attributes={"level": "high"})]
    )

    assert [(problem.path, problem.description) for problem in problems] == [
        ("offers[1].attributes.level", "is a category here and a number in offer_attributes or an offer before")
    ]
    assert fitting[1].attributes == {}


def test_truth_value_is_not_a_number() -> None:
    _, _, problems = infer_schema([offer("a", attributes={"x": 1.0}), offer("b", attributes={"x": True})])

    assert len(problems) == 1


def test_values_stand_in_columns_and_missing_ones_are_nan() -> None:
    made = table(offer("a", attributes={"level": 2.5, "dept": "b"}), offer("b", attributes={"dept": "a"}))

    level, dept = (made.attributes[made.schema.columns[name]] for name in ("level", "dept"))
    np.testing.assert_array_equal(level, np.array([2.5, np.nan], np.float32))
    assert [made.schema.by_id["dept"].values[int(code)] for code in dept] == ["b", "a"]


def test_open_schedule_is_infinite() -> None:
    start = datetime(2020, 1, 2, tzinfo=UTC)
    made = table(replace(offer("a"), start=start), replace(offer("b"), end=start))

    assert made.start.tolist() == [1.0, -np.inf]
    assert made.end.tolist() == [np.inf, 1.0]


def test_tie_break_depends_on_the_id_alone() -> None:
    before, after = table(offer("a"), offer("b")), table(offer("b", profit=9.0), offer("a"))

    assert before.tie_break.tolist() == after.tie_break.tolist()[::-1]


def test_offers_are_found_by_id_and_listed_by_id() -> None:
    made = table(offer("b"), offer("a"))

    assert made.index == {"b": 0, "a": 1}
    assert [each.id for each in made.by_id] == ["a", "b"]


def test_table_without_offers_is_empty() -> None:
    assert len(table()) == 0


def test_set_is_present_in_all_its_columns() -> None:
    made = table(
        offer("a", attributes={"tags": tuple(f"t{n:02}" for n in range(30))}), offer("b", attributes={"tags": ("t00",)})
    )

    columns = [made.schema.columns[name] for name in made.schema.by_id["tags"].column_names()]
    assert len(columns) == 2
    assert not np.isnan(made.attributes[columns, 1]).any()


def test_id_tactic_and_group_are_given_without_being_declared() -> None:
    made = table(replace(offer("a"), exclusion_group="drinks"), offer("b"))

    rows = {name: made.attributes[made.schema.columns[name]] for name in GIVEN}
    texts = {
        name: [None if np.isnan(code) else made.schema.by_id[name].values[int(code)] for code in row]
        for name, row in rows.items()
    }
    assert texts == {"id": ["a", "b"], "tactic": ["discount", "discount"], "exclusion_group": ["drinks", None]}


def test_attribute_with_the_name_of_a_given_one_is_a_problem_and_left_out() -> None:
    declared = [Attribute("level", AttributeType.NUMBER), Attribute("id", AttributeType.NUMBER)]
    laid_out, fitting, problems = infer_schema([offer("a", attributes={"tactic": "x", "level": 1.0})], declared)

    assert [problem.path for problem in problems] == ["offer_attributes[1].id", "offers[0].attributes.tactic"]
    assert all("is given by the offer itself" in problem.description for problem in problems)
    assert fitting[0].attributes == {"level": 1.0}
    assert laid_out.by_id["tactic"].values == ("discount",)
