"""What sources send to a server that is killed again and again, and what its customers must then look like.

A message is made from seed, source and sequence alone, so that it can be sent again and counted again without being
kept. Whatever order the sources' messages are applied in, the customers come to the same: amounts and events add up,
and no two changes of one cell have the same event time. So the state of all customers follows from the watermarks.
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opportune.v1 import profile_pb2, value_pb2
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.profile_pb2 import ConsentUpdate, Event, ProfileDelta

FAMILIES = 6
IDENTIFIERS = [f"c{family}{suffix}" for family in range(FAMILIES) for suffix in ("", "/a", "/b")]
"""Few, so that sources collide; those of a family are linked sooner or later."""

CROWD = 6_000
"""Customers that only bulk loads know: enough pages to make a snapshot take a while."""

SAMPLE = [f"crowd:{number}" for number in range(0, CROWD, CROWD // 25)]
"""Those of the crowd that are looked at."""

TIERS = ["basic", "silver", "gold"]
TAGS = [f"tag-{number}" for number in range(40)]
PURPOSES = ["personalization", "research"]
BAD_SHARE = 0.03


def family_of(identifier: str) -> list[str]:
    """The identifiers that it may be linked with, and itself."""
    family = identifier.partition("/")[0]
    return [name for name in IDENTIFIERS if name.partition("/")[0] == family]


def catalog(variant: int) -> dict[str, Any]:
    """A catalog of the same attributes, in another place for each variant, with others before and between them."""
    attributes: list[dict[str, Any]] = [
        {"id": "balance", "type": "number", "merge": "sum"},
        {"id": "level", "type": "number", "purpose": PURPOSES[0]},
        {"id": "tier", "type": "category", "values": TIERS},
        {"id": "tags", "type": "set", "values": TAGS},
        {"id": "loaded", "type": "number", "purpose": PURPOSES[1]},
    ]
    aggregates: list[dict[str, Any]] = [
        {"id": "purchases", "event": "purchase", "op": "count"},
        {"id": "spent", "event": "purchase", "op": "sum", "property": "amount"},
        {"id": "purchases_30d", "event": "purchase", "op": "count", "window": "30d"},
        {"id": "spent_60d", "event": "purchase", "op": "sum", "property": "amount", "window": "60d"},
    ]
    rng = random.Random(variant)
    attributes += [{"id": f"unused_{number}", "type": "number"} for number in range(variant % 4)]
    rng.shuffle(attributes)
    rng.shuffle(aggregates)
    offer = {
        "id": f"offer-{variant}",
        "tactic": "discount",
        "value": {"revenue": 4.0, "margin": 0.5},
        "creatives": [{"id": "web", "channel": "web", "content": {"title": "Hello"}}],
    }
    return {
        "currency": "EUR",
        "description": f"variant {variant}",
        "attributes": attributes,
        "aggregates": aggregates,
        "offers": [offer],
        "placements": [{"id": "home", "channel": "web", "slots": 1}],
    }


class Batch(NamedTuple):
    """What a message of a bulk load says: one attribute of many customers."""

    customer_ids: list[str]
    values: list[float]
    time_us: int


class Messages:
    """The messages of one source, by sequence, from 1."""

    def __init__(self, seed: int, source: str, number: int, began_us: int) -> None:
        """Makes messages.

        Args:
            number: Of the source, below 16: no other source's changes have its event times.
            began_us: No event is after this time, and none is more than a day before.
        """
        self.source = source
        self._seed = seed
        self._number = number
        self._began_us = began_us

    def deltas(self, sequence: int) -> list[ProfileDelta]:
        """The deltas of a message; a few are bad."""
        rng = self._rng(sequence)
        count = rng.choice([1, 2, 2, 3, 5, 12])
        return [self._delta(rng, sequence * 16 + place) for place in range(count)]

    def bad(self, watermark: int) -> set[tuple[str, int, int]]:
        """Source, sequence and index of the bad deltas of all messages up to a watermark."""
        return {
            (self.source, sequence, index)
            for sequence in range(1, watermark + 1)
            for index, delta in enumerate(self.deltas(sequence))
            if is_bad(delta)
        }

    def request(self, sequence: int) -> pb.StreamProfileDeltasRequest:
        """The message of a delta stream."""
        return pb.StreamProfileDeltasRequest(source=self.source, sequence=sequence, deltas=self.deltas(sequence))

    def batch(self, sequence: int) -> Batch:
        """The content of a message of a bulk load."""
        rng = self._rng(sequence)
        customer_ids = [f"crowd:{number}" for number in range(CROWD)] if sequence % 3 == 1 else []
        # One of a family, as values of linked identifiers with the same event time have no order.
        customer_ids += [rng.choice(family_of(f"c{family}")) for family in range(FAMILIES)]
        values = [float((sequence * 7 + place) % 9_973) for place in range(len(customer_ids))]
        return Batch(customer_ids, values, self._time_us(rng, sequence))

    def load_request(self, sequence: int) -> pb.LoadProfilesRequest:
        """The message of a bulk load."""
        customer_ids, values, time_us = self.batch(sequence)
        request = pb.LoadProfilesRequest(source=self.source, sequence=sequence, customer_ids=customer_ids)
        request.event_time.FromMicroseconds(time_us)
        request.columns.add(name="loaded", values=values)
        return request

    def _rng(self, sequence: int) -> random.Random:
        return random.Random(f"{self._seed}/{self.source}/{sequence}")

    def _time_us(self, rng: random.Random, change: int) -> int:
        """A time of this source and change alone, in no particular order."""
        second = rng.randrange(20_000)
        return self._began_us - (second + 1) * 1_000_000 + change * 16 % 999_984 + self._number

    def _delta(self, rng: random.Random, change: int) -> ProfileDelta:
        delta = ProfileDelta(customer_id=rng.choice(IDENTIFIERS))
        delta.event_time.FromMicroseconds(self._time_us(rng, change))
        if rng.random() < BAD_SHARE:
            _spoil(delta, rng)
        else:
            _CHANGES[rng.choices(range(len(_CHANGES)), _WEIGHTS)[0]](delta, rng)
        return delta


def _set(delta: ProfileDelta, rng: random.Random) -> None:
    delta.attributes.set["level"].number_value = rng.randrange(10_000)
    if rng.random() < 0.5:
        delta.attributes.set["tier"].string_value = rng.choice(TIERS)


def _increment(delta: ProfileDelta, rng: random.Random) -> None:
    delta.attributes.increment["balance"] = rng.randrange(1, 100)
    if rng.random() < 0.3:
        delta.attributes.append["tags"].values.extend(rng.sample(TAGS, 2))


def _purchase(delta: ProfileDelta, rng: random.Random) -> None:
    delta.event.CopyFrom(Event(type="purchase"))
    delta.event.properties["amount"].number_value = rng.randrange(1, 100)


def _answer(delta: ProfileDelta, rng: random.Random) -> None:
    delta.consent.CopyFrom(ConsentUpdate(purpose=rng.choice(PURPOSES), granted=rng.random() < 0.5))


def _link(delta: ProfileDelta, rng: random.Random) -> None:
    delta.other_ids.append(rng.choice(family_of(delta.customer_id)))
    if rng.random() < 0.5:
        _increment(delta, rng)


def _spoil(delta: ProfileDelta, rng: random.Random) -> None:
    """Makes a delta that must be refused whole, although a part of it is right."""
    _increment(delta, rng)
    match rng.randrange(4):
        case 0:
            delta.attributes.set["unheard_of"].number_value = 1
        case 1:
            delta.attributes.set["level"].number_value = float("nan")
        case 2:
            delta.attributes.set["tier"].string_value = "platinum"
        case _:
            delta.customer_id = "not an id"


_CHANGES = (_set, _increment, _purchase, _answer, _link)
_WEIGHTS = (3, 5, 5, 1, 0.2)


def is_bad(delta: ProfileDelta) -> bool:
    """Whether a delta of `Messages` must be refused."""
    updates = delta.attributes
    level = updates.set["level"].number_value if "level" in updates.set else 0.0
    tier = updates.set["tier"].string_value if "tier" in updates.set else "gold"
    return " " in delta.customer_id or "unheard_of" in updates.set or math.isnan(level) or tier not in TIERS


@dataclass
class Held:
    """What is known of one identifier. Cells that are set are kept with their times."""

    balance: float | None = None
    tags: set[str] | None = None
    cells: dict[str, tuple[int, Any]] = field(default_factory=dict)
    consents: dict[str, tuple[int, bool]] = field(default_factory=dict)
    purchases: int = 0
    spent: float = 0.0

    def put(self, cells: Mapping[str, Any], time_us: int) -> None:
        """Sets cells, each unless it was set later."""
        for name, content in cells.items():
            if name not in self.cells or time_us >= self.cells[name][0]:
                self.cells[name] = (time_us, content)

    def change(self, delta: ProfileDelta) -> None:
        """Applies what a delta says of its customer."""
        time_us = delta.event_time.ToMicroseconds()
        updates = delta.attributes
        self.put({name: plain(content) for name, content in updates.set.items()}, time_us)
        for amount in updates.increment.values():
            self.balance = (self.balance or 0.0) + amount
        for texts in updates.append.values():
            self.tags = (self.tags or set()) | set(texts.values)
        if delta.HasField("event"):
            self.purchases += 1
            self.spent += delta.event.properties["amount"].number_value
        if delta.HasField("consent"):
            known = self.consents.get(delta.consent.purpose, (0, True))
            self.consents[delta.consent.purpose] = max(known, (time_us, delta.consent.granted))


class Seen(NamedTuple):
    """A customer as GetProfile shows it, without versions and times."""

    attributes: dict[str, Any]
    consents: dict[str, bool]
    identifiers: list[str]


class Model:
    """Applies messages as a server should, each source's in order and each once."""

    def __init__(self) -> None:
        self.applied: dict[str, int] = {}
        self.deltas = 0
        self._held: dict[str, Held] = {}
        self._family: dict[str, frozenset[str]] = {}

    def advance(self, messages: Messages, watermark: int, *, loads: bool = False) -> None:
        """Applies the messages of a source up to its watermark."""
        for sequence in range(self.applied.get(messages.source, 0) + 1, watermark + 1):
            if loads:
                self._load(messages.batch(sequence))
            else:
                self._take(messages.deltas(sequence))
        self.applied[messages.source] = watermark

    def customer(self, identifier: str) -> Seen | None:
        """What GetProfile must show, None if it must not know the identifier."""
        if identifier not in self._held:
            return None
        members = sorted(self._family.get(identifier, {identifier}))
        return _merged(members, [self._held[member] for member in members])

    def _take(self, deltas: Iterable[ProfileDelta]) -> None:
        for delta in deltas:
            if is_bad(delta):
                continue
            self.deltas += 1
            self._known(delta.customer_id).change(delta)
            for other in delta.other_ids:
                self._known(other)
                joined = self._members(delta.customer_id) | self._members(other)
                self._family.update(dict.fromkeys(joined, joined))

    def _load(self, batch: Batch) -> None:
        self.deltas += len(batch.customer_ids)
        looked_at = {*IDENTIFIERS, *SAMPLE}
        for customer_id, content in zip(batch.customer_ids, batch.values, strict=True):
            if customer_id in looked_at:
                self._known(customer_id).put({"loaded": content}, batch.time_us)

    def _known(self, identifier: str) -> Held:
        return self._held.setdefault(identifier, Held())

    def _members(self, identifier: str) -> frozenset[str]:
        return self._family.get(identifier, frozenset([identifier]))


def _merged(members: Sequence[str], held: Sequence[Held]) -> Seen:
    purchases, spent = sum(one.purchases for one in held), sum(one.spent for one in held)
    attributes: dict[str, Any] = {
        "purchases": float(purchases),
        "purchases_30d": float(purchases),
        "spent": spent,
        "spent_60d": spent,
    }
    for name in ("level", "tier", "loaded"):
        if known := [one.cells[name] for one in held if name in one.cells]:
            attributes[name] = max(known)[1]
    if amounts := [one.balance for one in held if one.balance is not None]:
        attributes["balance"] = sum(amounts)
    if tags := [one.tags for one in held if one.tags is not None]:
        attributes["tags"] = sorted(set().union(*tags))
    answers: dict[str, tuple[int, bool]] = {}
    for one in held:
        for purpose, answer in one.consents.items():
            answers[purpose] = max(answers.get(purpose, answer), answer)
    return Seen(attributes, {purpose: granted for purpose, (_, granted) in answers.items()}, list(members))


def seen(profile: profile_pb2.Profile) -> Seen:
    """What GetProfile has shown."""
    attributes = {name: plain(content) for name, content in profile.attributes.items()}
    return Seen(attributes, dict(profile.consents), list(profile.identifiers))


def plain(value: value_pb2.Value) -> Any:
    """The content of a value; the members of a set sorted."""
    content = getattr(value, str(value.WhichOneof("kind")))
    return sorted(content.values) if isinstance(content, value_pb2.StringList) else content


def differences(model: Model, found: Mapping[str, Seen | None]) -> Iterator[str]:
    """How customers differ from the model, a line each."""
    for identifier, shown in found.items():
        expected = model.customer(identifier)
        if shown == expected:
            continue
        if shown is None or expected is None:
            yield f"{identifier}: is {'not ' if shown is None else ''}known and should be the other way round"
            continue
        for part in Seen._fields:
            should, is_ = getattr(expected, part), getattr(shown, part)
            if isinstance(should, dict):
                names = sorted({*should, *is_})
                should, is_ = ({n: of.get(n) for n in names if should.get(n) != is_.get(n)} for of in (should, is_))
            if should != is_:
                yield f"{identifier}: {part} should be {should} and are {is_}"


def misplaced(watermarks: Mapping[str, int], acknowledged: Mapping[str, int], sent: Mapping[str, int]) -> Iterator[str]:
    """Which watermarks are below what was acknowledged or above what was sent."""
    for source, watermark in watermarks.items():
        if not acknowledged[source] <= watermark <= sent[source]:
            bounds = f"{acknowledged[source]} was acknowledged and {sent[source]} sent"
            yield f"{source}: the watermark is {watermark}, while {bounds}"
