"""Reads the catalog file: YAML or JSON text to domain types, with every problem and its path.

What belongs to later versions (products, experiments) is refused, not ignored: an ignored holdout would
send what it must not.
"""

import hashlib
import json
import re
from collections.abc import Hashable, Iterator
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from server.domain.catalog import Catalog, Problem
from server.intelligence.catalog_entries import (
    AggregateEntry,
    AttributeEntry,
    Header,
    OfferAttributeEntry,
    OfferEntry,
    PlacementEntry,
    ValueEntry,
    aggregate_of,
    attribute_of,
    identity_of,
    offer_of,
    placement_of,
)
from server.intelligence.catalog_kinds import Entry
from server.intelligence.policy_entries import (
    BudgetEntry,
    ChannelEntry,
    LeverEntry,
    QuietHoursEntry,
    RuleEntry,
    budget_of,
    channel_of,
    lever_of,
    quiet_hours_of,
    rule_of,
    time_zones_of,
)

MAX_OFFERS = 100_000
_LATER = "is not supported by this version; a catalog that relies on it is refused rather than half obeyed"
_LATER_KEYS = frozenset({"products", "experiments"})


def read_catalog(text: str) -> tuple[Catalog, list[Problem]]:
    """The catalog that a text describes, and every problem of its form; with a problem, parts of it are left out.

    An offer that cannot be read leaves an empty one in its place, so that the paths of later problems stay right.
    """
    problems: list[Problem] = []
    reader = _Reader(_load(text, problems), problems)
    attribute_entries = list(reader.section("attributes", AttributeEntry))
    aggregate_entries = list(reader.section("aggregates", AggregateEntry))
    may_be_shown: list[AttributeEntry | AggregateEntry] = [*attribute_entries, *aggregate_entries]
    context = tuple(attribute_of(entry) for entry in reader.section("context", AttributeEntry))
    of_offers = tuple(attribute_of(entry) for entry in reader.section("offer_attributes", OfferAttributeEntry))
    offers = tuple(offer_of(entry) for entry in reader.section("offers", OfferEntry))
    placements = tuple(placement_of(entry) for entry in reader.section("placements", PlacementEntry))
    header = reader.header()
    return Catalog(
        currency=header.currency,
        attributes=tuple(map(attribute_of, attribute_entries)),
        context=context,
        offers=offers,
        placements=placements,
        etag=hashlib.sha256(text.encode()).hexdigest()[:32],
        offer_attributes=of_offers,
        aggregates=tuple(map(aggregate_of, aggregate_entries)),
        identity=identity_of(header.identity),
        rules=tuple(map(rule_of, reader.section("rules", RuleEntry))),
        levers=tuple(map(lever_of, reader.section("levers", LeverEntry))),
        budgets=tuple(map(budget_of, reader.section("budgets", BudgetEntry))),
        channels=tuple(map(channel_of, reader.section("channels", ChannelEntry))),
        quiet_hours=tuple(map(quiet_hours_of, reader.section("quiet_hours", QuietHoursEntry))),
        time_zones=time_zones_of(header.time_zone),
        hold_us=header.contacts.hold,
        attribution_us=header.contacts.attribution,
        household=header.contacts.household,
        content_attributes=frozenset(entry.id for entry in may_be_shown if entry.content),
    ), problems


_Any = TypeVar("_Any", bound=Entry)
_SECTIONS = (
    "attributes", "aggregates", "context", "offer_attributes", "offers", "placements",
    "rules", "levers", "budgets", "channels", "quiet_hours",
)  # fmt: skip


class _Reader:
    """Takes a loaded document apart, section by section, and collects what is wrong."""

    def __init__(self, document: object, problems: list[Problem]) -> None:
        self._readable = isinstance(document, dict)
        if not self._readable and not problems:
            problems.append(Problem("catalog", "must be a mapping with currency, attributes, offers, placements"))
        self._document: dict[str, object] = document if isinstance(document, dict) else {}
        self._problems = problems

    def section(self, name: str, entry_type: type[_Any]) -> Iterator[_Any]:
        """The entries of a section, a blank offer for each one that cannot be read."""
        entries = self._document.get(name)
        if entries is None:
            return
        if not isinstance(entries, list) or len(entries) > MAX_OFFERS:
            self._problems.append(Problem(name, f"must be a list of at most {MAX_OFFERS:,} entries"))
            return
        seen: set[Hashable] = set()
        for place, raw in enumerate(entries):
            path = f"{name}[{place}]"
            try:
                entry = entry_type.model_validate(raw)
            except ValidationError as error:
                self._problems += [Problem(_path(path, e["loc"]), _words(e)) for e in error.errors()]
                if entry_type is OfferEntry:
                    yield entry_type.model_construct(id=path, tactic="", value=ValueEntry(revenue=0, margin=0))
                continue
            identifier = getattr(entry, "id")  # noqa: B009 - every entry of a section has an id; mypy sees only the base
            if identifier in seen:
                self._problems.append(Problem(f"{path}.id", f"{identifier} is already taken"))
            seen.add(identifier)
            yield entry

    def header(self) -> Header:
        """Everything that is not in a section."""
        rest = {key: value for key, value in self._document.items() if key not in _SECTIONS}
        try:
            return Header.model_validate(rest)
        except ValidationError as error:
            if self._readable:
                self._problems += [Problem(_path("", e["loc"]), _words(e)) for e in error.errors()]
            return Header.model_construct(currency="")


def _load(text: str, problems: list[Problem]) -> object:
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text, object_pairs_hook=_unique)
        _refuse_aliases(text)
        return yaml.load(text, Loader=_CatalogLoader)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError) as error:
        # PyYAML lets what its own tags stumble over through as it is: `!!int ''`, `!!bool x`, `!!timestamp x`.
        problems.append(Problem("catalog", f"cannot be read: {' '.join(str(error).split())}"))
    except RecursionError:
        problems.append(Problem("catalog", "cannot be read: it nests too deeply"))
    return None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in one mapping")
    return mapping


def _refuse_aliases(text: str) -> None:
    """Refuses YAML aliases: a few lines of them can stand for gigabytes."""
    # Only a text with something that looks like one is worth a pass over its events.
    if re.search(r"(^|[\s\[{,:-])\*\w", text):
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError(f"aliases are not allowed: *{event.anchor}")


_BOOL = "tag:yaml.org,2002:bool"


class _CatalogLoader(yaml.CSafeLoader):
    """Reads plain data, and refuses a mapping that has a key twice, as one of the two would be lost.

    Truth values are those of YAML 1.2: `on` is a key of caps and `no` a language, not true and false.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  # it is the base's attribute
        first: [(tag, regexp) for tag, regexp in resolvers if tag != _BOOL]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError(f"a key stands twice in the mapping of line {node.start_mark.line + 1}")
        return mapping


_CatalogLoader.add_implicit_resolver(_BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def _path(prefix: str, location: tuple[int | str, ...]) -> str:
    path = prefix
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z_]\w*", step):
            path += f".{step}" if path else step
    return path or "catalog"


def _words(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return _LATER if error["loc"][-1] in _LATER_KEYS else "is not a key of the catalog format"
    return str(error["msg"]).removeprefix("Value error, ")
