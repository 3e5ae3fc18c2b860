"""Replays decisions in a process of its own: `python -m server.replaying` for a server, `… replay` for people.

A replay reads a snapshot and what comes behind it: seconds, and as much memory as the server has. So it never runs in
the server, which at most waits for one at a time. It opens the data folder for reading only, beside the server or not.
"""

import asyncio
import json
import pickle
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from server.domain.decision_record import DecisionRecord
from server.domain.errors import ErrorReason, OpportuneError
from server.elsewhere import run_elsewhere
from server.execution.recorded import not_recorded, numbers_of
from server.execution.replay import Past, Replay, Replayed
from server.inference.model import load_models
from server.storage.decision_reader import ReadOnlyDecisionLog
from server.stores import open_decisions_read_only, open_read_only

LIMIT_S = 60.0
"""How long a server waits for a replay."""

_READ_AT_ONCE = 1_000
_TOLD_EVERY = 10_000
_SHOWN_DIFFERENCES = 5


class Places(NamedTuple):
    """Where a server keeps what a replay reads."""

    data: Path
    models: Path | None = None
    erasures: Path | None = None


class _Refused(NamedTuple):
    """An `OpportuneError` on its way between processes."""

    reason: str
    message: str
    metadata: dict[str, str]


class Which(NamedTuple):
    """Which decisions to replay: by their ids, the last so many, or all from a number on."""

    ids: tuple[str, ...] = ()
    last: int = 0
    since: int = 0


class ReplayElsewhere:
    """Replays one decision at a time in another process."""

    def __init__(self, places: Places | None, limit_s: float = LIMIT_S) -> None:
        """`places` is None for a server that keeps nothing."""
        self._places = places
        self._limit_s = limit_s
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, record: DecisionRecord) -> Replayed:
        """The decision of a record, made again. The process is killed if the caller is cancelled.

        Raises:
            OpportuneError: VERSION_GONE, or DEADLINE_PASSED if it takes too long.
            RuntimeError: the process ended without an answer.
        """
        if self._places is None:
            message = "the server keeps no journal on disk; start it with --data"
            raise OpportuneError(ErrorReason.VERSION_GONE, message, {"missing": "journal"})
        try:
            async with asyncio.timeout(self._limit_s), self._one_at_a_time:
                answer = await _ask(self._places, record)
        except TimeoutError:
            message = f"the replay was not done within {self._limit_s:g} s; `python -m server replay` has no limit"
            raise OpportuneError(ErrorReason.DEADLINE_PASSED, message) from None
        if isinstance(answer, _Refused):
            raise OpportuneError(ErrorReason[answer.reason], answer.message, answer.metadata)
        return answer


async def _ask(places: Places, record: DecisionRecord) -> Replayed | _Refused:
    ended = await run_elsewhere("server.replaying", given=pickle.dumps((places, _plain(record))))
    if ended.code != 0:
        raise RuntimeError(f"replaying a decision ended with exit code {ended.code}")
    replayed: Replayed | _Refused = pickle.loads(ended.output)
    return replayed


def _plain(record: DecisionRecord) -> DecisionRecord:
    """The record without read-only views of dicts, which cannot be sent."""
    context = record.query.context
    return record._replace(query=record.query._replace(context=context._replace(attributes=dict(context.attributes))))


async def _answer(places: Places, record: DecisionRecord) -> Replayed | _Refused:
    try:
        async with AsyncExitStack() as stack:
            return await (await _replay(places, stack))(record)
    except OpportuneError as error:
        return _Refused(error.reason.name, error.message, error.metadata)


async def _replay(places: Places, stack: AsyncExitStack) -> Replay:
    stores = await open_read_only(places.data, places.erasures, stack)
    models = load_models(places.models) if places.models else {}
    return Replay(Past(stores.journal, stores.journal.first, stores.snapshots, stores.ledger), models)


async def report_on(places: Places, which: Which, json_path: Path | None) -> int:
    """Replays decisions, prints what differs, and returns 0 if all are identical and at least one was found, else 1.

    Raises:
        OpportuneError: VERSION_GONE, INVALID_FIELD, or DECISION_NOT_FOUND.
        JournalDamagedError, NewerEntryError, ModelRefusedError, OSError: what is needed cannot be read.
    """
    began = perf_counter()
    replayed = different = 0
    async with AsyncExitStack() as stack:
        log = await open_decisions_read_only(places.data, stack)
        # Read before the journal is opened, which has all decisions up to it then.
        newest = await log.last_number()
        replay = await _replay(places, stack)
        async for record in _records(log, which, newest):
            found = await replay(record)
            replayed += 1
            different += not found.identical
            if not found.identical or which.ids:
                print(_words(found))
            if not replayed % _TOLD_EVERY:
                print(f"replayed {replayed:,}, different {different:,}", file=sys.stderr)
    report = {"replayed": replayed, "different": different, "seconds": round(perf_counter() - began, 3)}
    for name, value in report.items():
        print(f"{name:10} {value}")
    if json_path is not None:
        json_path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if different or not replayed else 0


async def _records(log: ReadOnlyDecisionLog, which: Which, newest: int) -> AsyncIterator[DecisionRecord]:
    """The records that are asked for, in the order of their numbers."""
    if which.ids:
        for record in sorted([await _record(log, each) for each in which.ids], key=lambda each: each.number):
            yield record
        return
    first = max(newest - which.last + 1, 1) if which.last else max(which.since, 1)
    while first <= newest:
        for record in await log.between(first, first + _READ_AT_ONCE - 1):
            yield record
        first += _READ_AT_ONCE


async def _record(log: ReadOnlyDecisionLog, decision_id: str) -> DecisionRecord:
    number, tag = numbers_of(decision_id)
    found = await log.between(number, number)
    for record in found:
        if record.tag == tag:
            return record
    raise not_recorded()


def _words(found: Replayed) -> str:
    lines = [f"{found.decision.decision_id} is {'identical' if found.identical else 'different'}"]
    lines += [f"  {each.field}: {each.recorded} was recorded, {each.replayed} replayed" for each in found.differences]
    more = len(lines) - 1 - _SHOWN_DIFFERENCES
    return "\n".join([*lines[: 1 + _SHOWN_DIFFERENCES], *([f"  and {more} more"] if more > 0 else [])])


def main() -> None:
    """Reads places and one record from standard input and writes what became of it to standard output."""
    places, record = pickle.load(sys.stdin.buffer)
    pickle.dump(asyncio.run(_answer(places, record)), sys.stdout.buffer)


if __name__ == "__main__":
    main()
