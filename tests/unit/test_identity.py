import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from server.domain.matching import Form, MatchPart, MatchRule
from server.identity import evaluate, main, show
from server.identity_rules import read_rules

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PEOPLE: dict[str, Sequence[object]] = {
    "cluster": ["ann", "ann", "ann", "bob", "bob", "cy"],
    "first_name": ["Ann", "Anne", "Smith", "Bob", "Robert", "Cy"],
    "surname": ["Smith", "Smyth", "Ann", "Jones", "Jones", None],
    "dob": ["1984-05-03", "19840503", "1984-05-03", "1950-01-01", "1950-02-01", None],
    "email": [None, "ann@shop.example", None, "bob@shop.example", "BOB@shop.example", "info@shop.example"],
    "soc_sec_id": ["1", "1", "1", "1", "1", "1"],
}
EMAIL = MatchRule("email", (MatchPart("email", Form.EMAIL),))


def file_of(folder: Path, columns: Mapping[str, Sequence[object]]) -> Path:
    path = folder / "people.parquet"
    parquet.write_table(pyarrow.table(dict(columns)), path)
    return path


def test_shipped_rules_link_swapped_names_and_shared_addresses(tmp_path: Path) -> None:
    report = evaluate(file_of(tmp_path, PEOPLE))

    assert (report["precision"], report["recall"], report["f1"]) == (1.0, 1.0, 1.0)
    assert (report["records"], report["persons"], report["identifiers_max"]) == (6, 3, 3)
    assert report["truth"] == "cluster"
    assert [rule["id"] for rule in report["rules"]] == ["email", "sounds-date", "name-date"]


def test_each_rule_tells_its_own_pairs_and_what_it_adds(tmp_path: Path) -> None:
    rules = [EMAIL, MatchRule("again", EMAIL.parts), MatchRule("surname", (MatchPart("surname", Form.SOUND),))]
    path = file_of(tmp_path, PEOPLE | {"cluster": ["ann", "other", "ann", "bob", "bob", "cy"]})

    email, again, surname = evaluate(path, rules)["rules"]

    assert (email["keyed"], email["pairs"], email["precision"], email["adds_true"]) == (3, 1, 1.0, 1)
    assert (again["pairs"], again["adds_true"], again["adds_false"]) == (1, 0, 0)
    assert (surname["pairs"], surname["precision"], surname["adds_false"]) == (2, 0.5, 1)


def test_links_beyond_the_largest_group_are_refused_and_counted(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"cluster": ["a"] * 4, "email": ["a@shop.example"] * 4})

    report = evaluate(path, max_identifiers=3)

    assert (report["refused"], report["identifiers_max"], report["recall"]) == (1, 3, 0.5)
    assert report["rules"][0]["refused"] == 1


def test_records_of_unknown_truth_count_for_nothing(tmp_path: Path) -> None:
    path = file_of(tmp_path, {"person": ["a", None, "a"], "email": ["a@shop.example"] * 3})

    report = evaluate(path, truth="person")

    assert (report["found_true"], report["found_false"], report["true_pairs"]) == (1, 0, 1)


def test_numbers_and_dates_are_read_like_their_texts(tmp_path: Path) -> None:
    rule = MatchRule("postcode", (MatchPart("postcode", Form.POSTCODE),))
    path = file_of(tmp_path, {"cluster": [1, 1, 2], "postcode": [4011.0, 4011.0, None]})

    report = evaluate(path, [rule])

    assert report["recall"] == 1.0
    assert report["rules"][0]["keyed"] == 2


@pytest.mark.parametrize(
    ("rules", "truth", "reason"),
    [
        (None, "person", "has no column person"),
        ([MatchRule("phone", (MatchPart("phone", Form.PHONE),))], None, "has no column phone"),
        ([MatchRule("cheat", (MatchPart("cluster", Form.TEXT),))], None, "the column of the truth"),
    ],
)
def test_columns_that_cannot_be_used_are_named(
    tmp_path: Path, rules: Sequence[MatchRule] | None, truth: str | None, reason: str
) -> None:
    with pytest.raises(RuntimeError, match=reason):
        evaluate(file_of(tmp_path, PEOPLE), rules, truth)


@pytest.mark.parametrize(
    ("columns", "reason"), [({"email": ["a"]}, "needs the column"), ({"cluster": ["a"]}, "no shipped rule applies")]
)
def test_a_file_without_truth_or_known_columns_is_refused(
    tmp_path: Path, columns: Mapping[str, Sequence[object]], reason: str
) -> None:
    with pytest.raises(RuntimeError, match=reason):
        evaluate(file_of(tmp_path, columns))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "people.parquet"
    path.write_text("cluster,email")

    with pytest.raises(RuntimeError, match="cannot be read as parquet"):
        evaluate(path)


def test_rules_are_read_from_yaml() -> None:
    text = "match: [{id: name-date, parts: [{attribute: surname, form: name, first: 4}, {attribute: dob, form: date}]}]"

    assert read_rules(text) == (
        MatchRule("name-date", (MatchPart("surname", Form.NAME, 4), MatchPart("dob", Form.DATE))),
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "match: [{id: a, parts: [{attribute: b, form: magic, first: 0}]}]",
            ["match[0].parts[0].form", "match[0].parts[0].first"],
        ),
        (
            "match: [{id: a, parts: []}, {id: '', parts: [{attribute: b, form: date}]}]",
            ["match[0].parts", "match[1].id"],
        ),
        ("rules: []", ["match", "rules"]),
        (
            "match: [{id: a, parts: [{attribute: b, form: date}]}, {id: a, parts: [{attribute: c, form: date}]}]",
            ["a stands"],
        ),
        ("match: [", ["cannot be read"]),
        ("", ["match"]),
    ],
)
def test_every_problem_of_a_rules_file_is_told_with_its_path(text: str, problems: Sequence[str]) -> None:
    with pytest.raises(RuntimeError) as refusal:
        read_rules(text)

    assert len(str(refusal.value).splitlines()) >= len(problems) - 1
    assert all(problem in str(refusal.value) for problem in problems)


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("match: [{id: email, parts: [{attribute: email, form: email}]}]")

    main(file_of(tmp_path, PEOPLE), rules, json_path=tmp_path / "figures.json")

    printed = capsys.readouterr().out
    assert "precision 1.0000, recall 0.2500" in printed
    assert json.loads((tmp_path / "figures.json").read_text())["found_true"] == 1


def test_a_ratio_of_nothing_is_a_dash(tmp_path: Path) -> None:
    lines: list[str] = []
    path = file_of(tmp_path, {"cluster": ["a", "b"], "email": ["a@shop.example", "b@shop.example"]})

    show(evaluate(path), lines.append)

    assert lines[-1].startswith("precision -, recall -")
