"""Replays decisions: makes them again from the journal as of the entries that they knew, and compares every byte."""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from server.domain.decision import Decision, Rung
from server.domain.decision_record import DecisionRecord
from server.domain.erasure import ErasureLedger
from server.domain.journal import JournalDamagedError, NewerEntryError
from server.domain.model import Model, ModelFailure
from server.execution.compile import compile_text
from server.execution.compiled import CompiledCatalog
from server.execution.decide import decide
from server.execution.erase import forget_erased
from server.execution.evaluation import Snapshot
from server.execution.facts import Facts
from server.execution.past_catalogs import gone, with_unknown
from server.execution.rebuilding import placement_ids, recorded_answer, repeated_of
from server.execution.record import record_of
from server.execution.recovery import SnapshotReader
from server.execution.redaction import redacted
from server.execution.scoring import Scorer
from server.execution.snapshot import FactsHeader, restore
from server.execution.state import PreparedCatalog, State
from server.execution.timeline import Reader, Timeline

_OFFER = struct.Struct("<ddd")
_NUMBERS = struct.Struct("<bbqq")
_COMPARED = (
    "model_id", "plans", "granted", "counted", "variables", "truth", "repeated", "repeated_propensity",
    "shown", "shown_at", "lost", "lost_propensity", "lost_expected_value",
)  # fmt: skip


class Difference(NamedTuple):
    """A field that a replay gave another value."""

    field: str
    recorded: str
    replayed: str


class Replayed(NamedTuple):
    """A decision that was made again, and how it differs from what was recorded."""

    decision: Decision
    differences: tuple[Difference, ...]

    @property
    def identical(self) -> bool:
        """Whether it is the same, byte for byte."""
        return not self.differences


class SnapshotFiles(SnapshotReader, Protocol):
    """Snapshots of which the headers can be read alone."""

    def header(self, offset: int) -> FactsHeader:
        """What a snapshot says beside its pages; raises as `read`."""
        ...


class Past(NamedTuple):
    """Where the past is: a journal with its first offset, snapshots, and who must not come back."""

    journal: Reader
    first: int
    snapshots: SnapshotFiles
    ledger: ErasureLedger


class Replay:
    """Makes decisions again, in the order of their numbers, along one way through the journal."""

    def __init__(self, past: Past, models: Mapping[str, Model]) -> None:
        self._past = past
        self._state = State(models)
        self._timeline: Timeline | None = None

    async def __call__(self, record: DecisionRecord) -> Replayed:
        """Makes a decision again whose number is not below those of the calls before.

        Raises:
            OpportuneError: VERSION_GONE.
            JournalDamagedError, NewerEntryError, OSError: what is needed of the past cannot be read.
        """
        if self._timeline is None:
            self._timeline = self._begin(record)
        await self._timeline.advance(record.profile_version, record.number)
        if self._state.facts.offset != record.profile_version:
            at, knew = self._state.facts.offset, record.profile_version
            raise gone("journal", f"the journal leads to entry {at}, and the decision was made at entry {knew}")
        snapshot = self._snapshot(record)
        _require_models(record, snapshot)
        decision, evaluations = decide(snapshot, record.query, repeated_of(record, snapshot).moment(record))
        answer = recorded_answer(record, evaluations)
        again = record_of(decision, evaluations)
        return Replayed(decision, tuple(_differences(record, again, answer, decision)))

    def _begin(self, record: DecisionRecord) -> Timeline:
        """From the newest snapshot that is older than the decision, or from the beginning."""
        past, state = self._past, self._state
        state.facts = _restored(past, record) or Facts()
        if past.first > state.facts.offset + 1:
            raise gone(
                "journal",
                f"the journal begins at entry {past.first}, no snapshot before it is old enough, "
                f"and the decision was made at entry {record.profile_version}",
            )
        ledger = past.ledger
        return Timeline(state.facts, past.journal, lambda each: redacted(each, ledger.covers) if len(ledger) else each)

    def _snapshot(self, record: DecisionRecord) -> Snapshot:
        """The catalog of the decision over what was known then."""
        state, entry = self._state, self._state.facts.catalog
        if entry is None or entry.version != record.catalog_version:
            found = "none" if entry is None else entry.version
            message = f"catalog version {record.catalog_version} is not the one that the journal has then: {found}"
            raise gone("catalog", message)
        if state.catalog_version != entry.version:
            manifests = {model_id: model.manifest for model_id, model in state.models.items()}
            compiled, problems = compile_text(entry.text, with_unknown(manifests, entry.text))
            if compiled is None:
                raise gone("catalog", f"catalog version {entry.version} cannot be read any more: {problems[0]}")
            if compiled.customer != entry.schema:
                raise gone("catalog", f"catalog version {entry.version} is laid out in another way by now")
            compiled = replace(compiled, version=entry.version)
            state.serve(PreparedCatalog(compiled, _scorers(compiled, state.models)))
        return state.snapshot()


def answer_bytes(decision: Decision) -> bytes:
    """An answer as bytes that are the same for the same answer and no other: numbers as they are, texts with lengths.

    Everything that a caller acts on: id, customer, placement, time, offers with creatives, contents and numbers,
    result, rung, and the versions of model, catalog and profiles.
    """
    texts = [decision.decision_id, decision.customer_id, decision.placement_id, decision.model_version]
    texts.append(decision.time.isoformat())
    numbers = _NUMBERS.pack(decision.result, decision.rung, decision.profile_version, decision.catalog_version)
    parts = [numbers]
    for offer in decision.offers:
        texts += [offer.offer_id, offer.creative_id, offer.placement_id, offer.attribution_token]
        texts += [text for item in sorted(offer.content.items()) for text in item]
        parts.append(_OFFER.pack(offer.propensity, offer.value, offer.expected_value))
    encoded = [text.encode() for text in texts]
    return b"".join([*parts, *(len(text).to_bytes(4, "little") + text for text in encoded)])


def _require_models(record: DecisionRecord, snapshot: Snapshot) -> None:
    for placement_id in placement_ids(record):
        model = snapshot.catalog.placements[placement_id].model
        if model is not None and model.model_id not in snapshot.scorers:
            raise gone("model", f"placement {placement_id} ranks by model {model.model_id}, which is not here")


def _restored(past: Past, record: DecisionRecord) -> Facts | None:
    for offset in past.snapshots.offsets():
        if offset > record.profile_version:
            continue
        # One that is damaged is passed over: the next one leads to the same place.
        with suppress(JournalDamagedError, NewerEntryError, OSError):
            if past.snapshots.header(offset).contacts.decided < record.number:
                header, pages = past.snapshots.read(offset)
                facts = restore(header, pages)
                forget_erased(facts, past.ledger, header.time_us)
                return facts
    return None


def _scorers(catalog: CompiledCatalog, models: Mapping[str, Model]) -> dict[str, Scorer]:
    scorers = {}
    for plan in {p.model.model_id: p.model for p in catalog.placements.values() if p.model is not None}.values():
        with suppress(KeyError, ModelFailure):
            scorers[plan.model_id] = Scorer(plan, models[plan.model_id])
    return scorers


def _differences(
    record: DecisionRecord, again: DecisionRecord, answer: Decision, decision: Decision
) -> Iterator[Difference]:
    if answer_bytes(answer) != answer_bytes(decision):
        yield from _of_answers(answer, decision)
    for field in _COMPARED:
        recorded, replayed = getattr(record, field), getattr(again, field)
        if isinstance(recorded, np.ndarray):  # What is written down may be less precise than what was decided.
            replayed = replayed.astype(recorded.dtype)
        if not _same(recorded, replayed):
            yield from _of_values(field, recorded, replayed)
    # Events of a customer are in no particular order, and so are the caps that they fill.
    recorded, replayed = (sorted(set(each.capped.tolist())) for each in (record, again))
    if recorded != replayed:
        yield Difference("capped", str(recorded), str(replayed))


def _of_answers(answer: Decision, decision: Decision) -> Iterator[Difference]:
    for field in ("decision_id", "customer_id", "time", "result", "rung", "model_version", "catalog_version"):
        recorded, replayed = getattr(answer, field), getattr(decision, field)
        if recorded != replayed:
            yield Difference(field, _text(recorded), _text(replayed))
    if len(answer.offers) != len(decision.offers):
        yield Difference("offers", f"{len(answer.offers)} offers", f"{len(decision.offers)} offers")
    for slot, (was, now) in enumerate(zip(answer.offers, decision.offers, strict=False)):
        for field, recorded, replayed in zip(was._fields, was, now, strict=True):
            if recorded != replayed:
                yield Difference(f"offers[{slot}].{field}", _text(recorded), _text(replayed))


def _of_values(field: str, recorded: Any, replayed: Any) -> Iterator[Difference]:
    if not isinstance(recorded, np.ndarray) or len(recorded) != len(replayed):
        yield Difference(field, _text(recorded), _text(replayed))
        return
    for place, (was, now) in enumerate(zip(recorded.tolist(), replayed.tolist(), strict=True)):
        if repr(was) != repr(now):
            yield Difference(f"{field}[{place}]", repr(was), repr(now))


def _same(recorded: Any, replayed: Any) -> bool:
    if isinstance(recorded, np.ndarray):
        return np.array_equal(recorded, replayed, equal_nan=recorded.dtype.kind == "f")
    return bool(recorded == replayed)


def _text(value: object) -> str:
    return value.name if isinstance(value, Rung) else repr(value) if isinstance(value, float) else str(value)
