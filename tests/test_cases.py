"""Golden decisions: each file of `tests/cases` is a catalog, customers, a question and the answer it must get.

`tests/cases/README.md` says how to add one.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from server.domain.decision import Decision
from tests.support.case_files import Case, Customer, Expected, ReportedOutcome, Step, read_case, reversed_case
from tests.support.case_stories import Story
from tests.support.service import offer_ids

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.glob("*.yaml"))

KNOWN: dict[str, str] = {}
"""The cases that the server does not get right yet, by name, and what is wrong."""


def _parameters() -> list[Any]:
    return [
        pytest.param(
            file,
            id=file.stem,
            marks=[pytest.mark.xfail(strict=True, reason=KNOWN[file.stem])] if file.stem in KNOWN else [],
        )
        for file in FILES
    ]


@pytest.mark.parametrize("order", ["as written", "reversed"])
@pytest.mark.parametrize("file", _parameters())
def test_decision_is_the_expected_one_in_any_order_of_the_file(file: Path, order: str) -> None:
    case = read_case(file)
    if order == "reversed":
        case = reversed_case(case)

    decision = Story(case).ask(case.query, full_view=True, include_content=bool(case.expect.content))

    assert_answer(decision, case.expect)
    assert_excluded(decision, case.expect.excluded)


def test_there_are_cases_for_every_rule() -> None:
    assert len(FILES) >= 60
    assert set(KNOWN) <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_case_says_what_it_shows(file: Path) -> None:
    case = read_case(file)

    assert case.about.strip().endswith((".", "?"))
    assert case.expect.offers or case.expect.result != "RANKED"


def test_every_key_is_described() -> None:
    text = (CASES / "README.md").read_text(encoding="utf-8")

    for part in (Case, Customer, Expected, ReportedOutcome, Step):
        prefix = "expect." if part is Expected else ""
        assert not [name for name in part.model_fields if not re.search(rf"`({prefix})?{name}[`:]", text)], part


def assert_answer(decision: Decision, expected: Expected) -> None:
    """The decision has what the case says of it."""
    offers = decision.offers
    assert offer_ids(decision) == expected.offers
    assert decision.result.name == expected.result
    assert decision.rung.name == expected.rung
    if expected.placements is not None:
        assert _by_placement(decision, expected.placements) == expected.placements
    creatives = {o.offer_id: o.creative_id for o in offers}
    assert creatives | expected.creatives == creatives
    values = {o.offer_id: o.expected_value for o in offers}
    assert {offer: values[offer] for offer in expected.expected_values} == pytest.approx(
        expected.expected_values, abs=1e-5
    )
    contents = {o.offer_id: dict(o.content) for o in offers}
    assert {offer: contents[offer] for offer in expected.content} == expected.content


def assert_excluded(decision: Decision, excluded: Mapping[str, tuple[str, str]]) -> None:
    """Each of these offers is excluded, once, for the reason and with the words."""
    assert decision.explanation is not None
    for offer_id, (reason, words) in excluded.items():
        found = [e for e in decision.explanation.exclusions if e.offer_id == offer_id]
        assert [e.reason.name for e in found] == [reason], offer_id
        assert words in found[0].detail


def _by_placement(decision: Decision, placement_ids: Iterable[str]) -> dict[str, list[str]]:
    shown: dict[str, list[str]] = {placement_id: [] for placement_id in placement_ids}
    for offer in decision.offers:
        shown.setdefault(offer.placement_id, []).append(offer.offer_id)
    return shown
