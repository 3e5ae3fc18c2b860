"""Reads the catalog file: YAML or JSON text to domain types, with every problem and its path.

What belongs to later versions (caps, rules, budgets, experiments) is refused, not ignored: an ignored cap would send
more than it allows.
"""

import hashlib
import json
import re
from collections.abc import Hashable, Iterator
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from server.domain.attribute import Attribute, AttributeType
from server.domain.catalog import Catalog, Problem
from server.domain.identifier import ID_PATTERN
from server.domain.offer import Creative, Offer, OfferValue
from server.domain.placement import Placement

MAX_OFFERS = 100_000
_LATER = "is not supported by this version; a catalog that relies on it is refused rather than half obeyed"
_LATER_KEYS = frozenset(
    {"aggregates", "products", "rules", "budgets", "experiments", "caps", "exclusion_group", "max_per_group"}
)


def read_catalog(text: str) -> tuple[Catalog, list[Problem]]:
    """The catalog that a text describes, and every problem of its form; with a problem, parts of it are left out.

    An offer that cannot be read leaves an empty one in its place, so that the paths of later problems stay right.
    """
    problems: list[Problem] = []
    reader = _Reader(_load(text, problems), problems)
    attributes = tuple(_attribute(entry) for entry in reader.section("attributes", _AttributeEntry))
    context = tuple(_attribute(entry) for entry in reader.section("context", _AttributeEntry))
    of_offers = tuple(_attribute(entry) for entry in reader.section("offer_attributes", _OfferAttributeEntry))
    offers = tuple(_offer(entry) for entry in reader.section("offers", _OfferEntry))
    placements = tuple(_placement(entry) for entry in reader.section("placements", _PlacementEntry))
    currency = reader.header()
    etag = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Catalog(currency, attributes, context, offers, placements, etag, of_offers), problems


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _to_time(value: object) -> object:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("is not a date or time such as 2017-08-01 or 2017-08-01T09:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


def _to_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else (value,)


def _to_milliseconds(value: object) -> object:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("is not a duration such as 150ms or 0.5s")
    return float(match[1]) * (1_000 if match[2] == "s" else 1)


_Id = Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_Time = Annotated[datetime | None, BeforeValidator(_to_time)]
_Number = Annotated[float, Field(allow_inf_nan=False, ge=-3.4e38, le=3.4e38)]
_Amount = Annotated[float, Field(allow_inf_nan=False, ge=0)]


class _AttributeEntry(_Entry):
    id: _Name
    type: Literal["number", "boolean", "category", "set", "timestamp_age"]
    values: list[_Text] = Field(default=[], max_length=10_000)
    by: _Name | None = None
    keys: list[_Id] = []
    purpose: _Id | None = None


class _OfferAttributeEntry(_Entry):
    id: _Name
    type: Literal["number", "boolean", "category", "set"]
    values: list[_Text] = Field(default=[], max_length=10_000)


class _ValueEntry(_Entry):
    revenue: _Amount
    margin: Annotated[float, Field(ge=0, le=1)]
    cost: _Amount = 0.0


class _ScheduleEntry(_Entry):
    start: _Time = None
    end: _Time = None


class _CreativeEntry(_Entry):
    id: _Id
    channel: _Id
    locale: Annotated[str, StringConstraints(max_length=35)] = ""
    content: dict[_Name, Annotated[str, StringConstraints(max_length=16_384)]] = {}


class _OfferEntry(_Entry):
    id: _Id
    tactic: _Text
    value: _ValueEntry
    attributes: dict[_Name, bool | _Number | _Text | list[_Text]] = {}
    eligible: Annotated[str, StringConstraints(max_length=65_536)] = ""
    schedule: _ScheduleEntry = _ScheduleEntry()
    channels: list[_Id] = []
    creatives: list[_CreativeEntry] = []


class _PlacementEntry(_Entry):
    id: _Id
    channel: Annotated[tuple[_Id, ...], BeforeValidator(_to_tuple), Field(min_length=1)]
    slots: Annotated[int, Field(ge=1, le=100)]
    model: Annotated[str, StringConstraints(pattern=rf"^({ID_PATTERN}/{ID_PATTERN})?$")] = ""
    objective: Literal["expected_value"] = "expected_value"
    fallback_offers: list[_Id] = []
    deadline: Annotated[float, BeforeValidator(_to_milliseconds), Field(gt=0)] | None = None
    enabled: bool = True


class _Header(_Entry):
    currency: Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
    description: str = ""
    assumptions: dict[str, Any] = {}


_Any = TypeVar("_Any", bound=_Entry)
_SECTIONS = ("attributes", "context", "offer_attributes", "offers", "placements")


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
                if entry_type is _OfferEntry:
                    yield entry_type.model_construct(id=path, tactic="", value=_ValueEntry(revenue=0, margin=0))
                continue
            identifier = getattr(entry, "id")  # noqa: B009 - every entry of a section has an id; mypy sees only the base
            if identifier in seen:
                self._problems.append(Problem(f"{path}.id", f"{identifier} is already taken"))
            seen.add(identifier)
            yield entry

    def header(self) -> str:
        """The currency; checks everything that is not in a section."""
        rest = {key: value for key, value in self._document.items() if key not in _SECTIONS}
        try:
            return _Header.model_validate(rest).currency
        except ValidationError as error:
            if self._readable:
                self._problems += [Problem(_path("", e["loc"]), _words(e)) for e in error.errors()]
            return ""


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


class _CatalogLoader(yaml.CSafeLoader):
    """Reads plain data, and refuses a mapping that has a key twice, as one of the two would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.YAMLError(f"a key stands twice in the mapping of line {node.start_mark.line + 1}")
        return mapping


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


def _attribute(entry: _AttributeEntry | _OfferAttributeEntry) -> Attribute:
    if isinstance(entry, _OfferAttributeEntry):
        return Attribute(entry.id, AttributeType(entry.type), tuple(entry.values))
    return Attribute(
        entry.id, AttributeType(entry.type), tuple(entry.values), entry.by, tuple(entry.keys), entry.purpose
    )


def _offer(entry: _OfferEntry) -> Offer:
    attributes = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.attributes.items()}
    return Offer(
        id=entry.id,
        tactic=entry.tactic,
        value=OfferValue(entry.value.revenue, entry.value.margin, entry.value.cost),
        attributes=attributes,
        eligible=entry.eligible,
        start=entry.schedule.start,
        end=entry.schedule.end,
        channels=tuple(entry.channels),
        creatives=tuple(Creative(c.id, c.channel, c.locale, c.content) for c in entry.creatives),
    )


def _placement(entry: _PlacementEntry) -> Placement:
    return Placement(
        id=entry.id,
        channels=entry.channel,
        slots=entry.slots,
        model=entry.model,
        fallback_offers=tuple(entry.fallback_offers),
        deadline_ms=entry.deadline,
        enabled=entry.enabled,
    )
