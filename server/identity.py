"""Measures match rules on a file of person records: `python -m server identity evaluate FILE`.

Every record is an identifier that is seen for the first time. Records that share a key of a rule are linked, as the
server links them, and the links are held against a column that tells who is who. What a pair of records costs if it
is linked wrongly is not known here; see the precision of each rule before relying on it.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.domain.matching import Groups, MatchPart, MatchRule
from server.identity_rules import DEFAULT_RULES, ROLES, read_rules
from server.input.matching import key_of, normalise

MAX_IDENTIFIERS = 32
"""How many identifiers one person may have before a rule's link is refused."""

TRUTH_COLUMNS = ("cluster", "true_id")

_PEPPER = b"keys of one evaluation, never kept"


def main(
    path: Path,
    rules: Path | None = None,
    truth: str | None = None,
    max_identifiers: int = MAX_IDENTIFIERS,
    json_path: Path | None = None,
) -> None:
    """Evaluates a file, prints the table, and with `json_path` writes the figures there as well."""
    chosen = read_rules(rules.read_text(encoding="utf-8")) if rules else None
    report = evaluate(path, chosen, truth, max_identifiers)
    show(report)
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def evaluate(
    path: Path,
    rules: Sequence[MatchRule] | None = None,
    truth: str | None = None,
    max_identifiers: int = MAX_IDENTIFIERS,
) -> dict[str, Any]:
    """How well rules, or else the shipped ones, tell the persons of a parquet file apart.

    Precision, recall and F1 are of pairs of records; None stands for a ratio of nothing.

    Raises:
        RuntimeError: pyarrow is missing, the file is not parquet, or it lacks a column that is needed.
    """
    started = time.perf_counter()
    records = _read_records(path, rules, truth)
    applied = [rule for rule in rules or DEFAULT_RULES if records.has(rule)]
    if not applied:
        raise RuntimeError(f"{path}: no shipped rule applies to its columns; write rules of your own")
    groups = Groups(records.count, max_identifiers)
    figures = list(_apply_rules(applied, records, groups))
    linked = Counter(map(groups.group_of, range(records.count)))
    return {
        "file": str(path),
        "truth": records.truth_column,
        "max_identifiers": max_identifiers,
        "records": records.count,
        "persons": len(linked),
        "identifiers_max": max(linked.values(), default=0),
        "refused": groups.refused,
        **_ratios(_pairs(_labels(groups), records.truth), _pairs(records.truth, records.truth)[0]),
        "rules": figures,
        "seconds": round(time.perf_counter() - started, 3),
    }


def show(report: Mapping[str, Any], write: Callable[[str], None] = print) -> None:
    """Prints a report as a table, a line for each rule."""
    write(f"{report['file']}: {report['records']:,} records of {report['persons']:,} persons, by {report['truth']}")
    write(f"{'rule':<30}{'keyed':>9}{'pairs':>11}{'precision':>11}{'adds true':>11}{'adds false':>12}{'refused':>9}")
    for rule in report["rules"]:
        write(
            f"{rule['id']:<30}{rule['keyed']:>9,}{rule['pairs']:>11,}{_ratio(rule['precision']):>11}"
            f"{rule['adds_true']:>11,}{rule['adds_false']:>12,}{rule['refused']:>9,}"
        )
    write(
        f"precision {_ratio(report['precision'])}, recall {_ratio(report['recall'])}, F1 {_ratio(report['f1'])}; "
        f"{report['refused']} links refused, at most {report['identifiers_max']} of {report['max_identifiers']} "
        f"identifiers for a person; {report['seconds']} s"
    )


@dataclass(slots=True)
class _Records:
    """The columns of a file as texts, by what rules call them, and who each record truly is (None: not known)."""

    truth_column: str
    truth: list[str | None]
    columns: Mapping[str, list[str]]
    _normalised: dict[MatchPart, list[str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.truth)

    def has(self, rule: MatchRule) -> bool:
        return all(part.attribute in self.columns for part in rule.parts)

    def keys(self, rule: MatchRule) -> Iterator[tuple[int, bytes]]:
        """The key of each record that has one."""
        parts = [self._normal_forms(part) for part in rule.parts]
        for record, forms in enumerate(zip(*parts, strict=True)):
            if all(forms):
                yield record, key_of(rule.id, forms, _PEPPER)

    def _normal_forms(self, part: MatchPart) -> list[str]:
        if part not in self._normalised:
            texts = self.columns[part.attribute]
            distinct = {text: normalise(text, part.form, part.first) for text in set(texts)}
            self._normalised[part] = [distinct[text] for text in texts]
        return self._normalised[part]


def _read_records(path: Path, rules: Sequence[MatchRule] | None, truth: str | None) -> _Records:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as missing:
        raise RuntimeError("pyarrow is missing; install opportune[bulk]") from missing
    try:
        file = parquet.ParquetFile(path)
        names: list[str] = file.schema_arrow.names
        truth = truth or next((name for name in TRUTH_COLUMNS if name in names), None)
        sources = _sources(names) if rules is None else _named(rules)
        absent = sorted({truth, *sources.values()} - {*names}, key=str)
        if truth is None or absent:
            reason = f"has no column {', '.join(map(str, absent))}" if truth else "needs the column of the truth"
            raise RuntimeError(f"{path} {reason}; its columns are {', '.join(names)}")
        if truth in sources.values():
            raise RuntimeError(f"{path}: a rule reads {truth}, the column of the truth")
        table = file.read(columns=[truth, *sources.values()])
    except pyarrow.ArrowInvalid as error:
        raise RuntimeError(f"{path} cannot be read as parquet: {error}") from error
    columns = {name: [_text(value) for value in table[source].to_pylist()] for name, source in sources.items()}
    identities = [None if value is None else str(value) for value in table[truth].to_pylist()]
    return _Records(truth, identities, columns if rules is not None else _with_full_name(columns))


def _sources(names: Sequence[str]) -> dict[str, str]:
    """The column of each role that the file has."""
    by_name = {name.lower(): name for name in reversed(names)}
    found = {role: next((by_name[name] for name in known if name in by_name), None) for role, known in ROLES.items()}
    return {role: name for role, name in found.items() if name is not None}


def _named(rules: Sequence[MatchRule]) -> dict[str, str]:
    return {part.attribute: part.attribute for rule in rules for part in rule.parts}


def _with_full_name(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    if "full_name" not in columns and {"given_name", "surname"} <= columns.keys():
        pairs = zip(columns["given_name"], columns["surname"], strict=True)
        columns["full_name"] = [f"{given} {surname}" for given, surname in pairs]
    return columns


def _text(value: object) -> str:
    if isinstance(value, float):
        # A column of whole numbers with a gap is often stored as floats: 4011.0 is postcode 4011.
        return str(int(value)) if value.is_integer() else ""
    return "" if value is None else str(value)


def _apply_rules(rules: Sequence[MatchRule], records: _Records, groups: Groups) -> Iterator[dict[str, Any]]:
    """Links what each rule in turn says is one person, and yields the figures of the rule."""
    before = _pairs(_labels(groups), records.truth)
    for rule in rules:
        refused = groups.refused
        holders: dict[bytes, int] = {}
        labels: list[int | None] = [None] * records.count
        for record, key in records.keys(rule):
            labels[record] = holders.setdefault(key, record)
            groups.link(holders[key], record)
        own = _pairs(labels, records.truth)
        after = _pairs(_labels(groups), records.truth)
        yield {
            "id": rule.id,
            "keyed": sum(label is not None for label in labels),
            "pairs": sum(own),
            "precision": _part(own[0], sum(own)),
            "adds_true": after[0] - before[0],
            "adds_false": after[1] - before[1],
            "refused": groups.refused - refused,
        }
        before = after


def _labels(groups: Groups) -> list[int | None]:
    return [groups.group_of(member) for member in range(groups.count)]


def _pairs(labels: Sequence[object], truth: Sequence[str | None]) -> tuple[int, int]:
    """How many pairs of records with one label are truly one person, and how many are not."""
    known = [(label, true) for label, true in zip(labels, truth, strict=True) if None not in (label, true)]
    linked = sum(size * (size - 1) // 2 for size in Counter(label for label, _ in known).values())
    right = sum(size * (size - 1) // 2 for size in Counter(known).values())
    return right, linked - right


def _ratios(found: tuple[int, int], true_pairs: int) -> dict[str, Any]:
    precision, recall = _part(found[0], sum(found)), _part(found[0], true_pairs)
    return {
        "true_pairs": true_pairs,
        "found_true": found[0],
        "found_false": found[1],
        "precision": precision,
        "recall": recall,
        "f1": _part(2 * found[0], sum(found) + true_pairs),
    }


def _part(count: int, total: int) -> float | None:
    return round(count / total, 6) if total else None


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
