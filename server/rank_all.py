"""`python -m server rank-all`: ranks every customer of an audience into a Parquet file, in a process of its own.

It reads snapshot and journal of a data folder as a server does at start, also while a server uses the folder, and
answers as RankOffers would at that version.
"""

import asyncio
import gc
import json
import resource
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from server.domain.attribute import AttributeType, Schema, Value
from server.domain.clock import time_of
from server.execution.batch import BatchQuery, RankAudience
from server.inference.model import load_models
from server.progress import Progress
from server.ranking_file import RankingFile
from server.reading import read_facts, snapshot_of

INTERRUPTED = 130


class Sources(NamedTuple):
    """What is read: the data folder, its erasure ledger if that is elsewhere, models, and a catalog of one's own."""

    data: Path
    erasures: Path | None = None
    models: Path | None = None
    catalog: Path | None = None


class Request(NamedTuple):
    """What is asked; `context` are the attributes of the moment as texts, by name, which the catalog's types read."""

    query: BatchQuery
    context: Mapping[str, str] = MappingProxyType({})


class Target(NamedTuple):
    """What is written: the Parquet file, whether it may replace one, and a report."""

    out: Path
    force: bool = False
    json: Path | None = None


def rank_all(sources: Sources, request: Request, target: Target) -> int:
    """Ranks, writes and reports. Exit status 0, or 130 if it was interrupted, and then nothing is left of the file.

    Raises:
        OpportuneError: PLACEMENT_NOT_FOUND, INVALID_CATALOG, or INVALID_FIELD for a part of the query.
        JournalDamagedError, NewerEntryError, ModelRefusedError: something cannot be trusted.
        OSError, RuntimeError: something cannot be read or written.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = _rank_all(sources, request, target)
    except KeyboardInterrupt:
        print(f"\ninterrupted; {target.out} has not been written", file=sys.stderr)
        return INTERRUPTED
    for name, value in report.items():
        print(f"{name.replace('_', ' '):20} {value}")
    if target.json is not None:
        target.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _rank_all(sources: Sources, request: Request, target: Target) -> dict[str, object]:
    if target.out.exists() and not target.force:
        # Said before minutes of reading, and once more before the file takes its place.
        raise FileExistsError(f"there is a file {target.out} already; --force replaces it")
    started_s = time.monotonic()
    ranking = _prepared(sources, request)
    read_s, read_mib = time.monotonic() - started_s, _resident_mib_max()
    report = _described(ranking, request)
    progress = Progress(ranking.customers, "customers", sys.stderr)
    in_audience = offered = failed = 0
    shown = ranking.occasion.creatives.shown
    metadata = {name: str(value) for name, value in report.items()}
    started_s = time.monotonic()
    with RankingFile(target.out, shown, metadata, replace=target.force) as file:
        for looked_at, answers in ranking:
            if answers is not None:
                file.write(answers)
                in_audience += len(answers.names)
                offered += answers.slates.distinct_customers
                failed += int(answers.failed.sum())
            progress.advance(looked_at)
    seconds = time.monotonic() - started_s
    progress.end()
    return report | {
        "customers": ranking.customers,
        "in_audience": in_audience,
        "offered": offered,
        "without_offer": in_audience - offered,
        "model_failed_for": failed,
        "rows": file.rows,
        "offers": len(ranking.occasion.catalog.offers),
        "read_seconds": round(read_s, 3),
        "seconds": round(seconds, 3),
        "customers_per_second": round(in_audience / seconds),
        "rss_read_mib": read_mib,
        "rss_mib": _resident_mib_max(),
        "file": str(target.out),
    }


def _prepared(sources: Sources, request: Request) -> RankAudience:
    if not sources.data.is_dir():
        raise FileNotFoundError(f"there is no folder {sources.data}")
    text = None if sources.catalog is None else sources.catalog.read_text(encoding="utf-8")
    models = load_models(sources.models) if sources.models else {}
    # Millions of entries and pages come, none of them in a cycle, and all of them stay.
    gc.disable()
    recovered = asyncio.run(read_facts(sources.data, sources.erasures, _say))
    snapshot = snapshot_of(recovered.facts, models, text)
    gc.freeze()
    gc.enable()
    query = request.query
    attributes = {name: _value(snapshot.catalog.context, name, text) for name, text in request.context.items()}
    query = query._replace(context=query.context._replace(attributes=attributes))
    return RankAudience(snapshot, query, query.context.time or datetime.now(UTC))


def _value(context: Schema, name: str, text: str) -> Value:
    """A context attribute's value, of its declared type; whatever cannot be read so is refused as a text."""
    attribute = context.by_id.get(name)
    try:
        match attribute.type if attribute is not None else None:
            case AttributeType.NUMBER:
                return float(text)
            case AttributeType.BOOLEAN:
                return {"true": True, "false": False}[text]
            case AttributeType.TIMESTAMP_AGE:
                return datetime.fromisoformat(text)
    except (ValueError, KeyError):
        pass
    return text


def _described(ranking: RankAudience, request: Request) -> dict[str, object]:
    """What makes the answers what they are; also the file's metadata."""
    occasion, query = ranking.occasion, request.query
    return {
        "catalog_version": occasion.catalog.version,
        "catalog_etag": occasion.catalog.etag,
        "profile_version": occasion.snapshot.profile_version,
        "placement": occasion.placement.placement.id,
        "channel": occasion.channel,
        "locale": query.context.locale,
        "context": ", ".join(f"{name}={text}" for name, text in sorted(request.context.items())),
        "time": time_of(occasion.now_us).isoformat(),
        "model": "" if occasion.placement.model is None else occasion.placement.model.model_id,
        "audience": query.audience or "everybody",
        "slots": occasion.slots,
    }


def _resident_mib_max() -> int:
    """The most memory that the process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
