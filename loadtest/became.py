"""What became of the calls of a flood: good, refused, or missed, and how it went over time."""

from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.http2 import OK, RESET

BUCKET_S = 0.25
LOST = -2
NAMES = {code.value[0]: code.name for code in grpc.StatusCode} | {RESET: "RESET", LOST: "LOST"}
REFUSED = tuple(getattr(grpc.StatusCode, name).value[0] for name in ("RESOURCE_EXHAUSTED", "CANCELLED"))
"""grpcio's core refuses with CANCELLED; nothing else here cancels."""

RECOVERED_SHARE = 0.99

Row = tuple[float, float, int]
"""A call: when it was due and how long it took from then, in seconds, and its status."""


def became_of(rows: Sequence[Row], since_s: float, until_s: float, deadline_s: float) -> dict[str, Any]:
    """What came of the calls that were due in a span.

    An answer is good if it was there within the deadline from when its call was *due*, else late. `missed` is all that
    was neither good nor refused: late, expired, failed, cut off, lost, or never sent. `buckets` are the shares of good
    answers in each quarter of a second, None where nothing was due.
    """
    table: NDArray[np.float64] = np.array(rows, np.float64).reshape(-1, 3)
    due, took, status = table[(table[:, 0] >= since_s) & (table[:, 0] < until_s)].T
    answered = status == OK
    good = answered & (took <= deadline_s)
    refused = np.isin(status, REFUSED)
    codes, counts = np.unique(status.astype(int), return_counts=True)
    count = round((until_s - since_s) / BUCKET_S)
    places = np.minimum(((due - since_s) / BUCKET_S).astype(int), count - 1)
    offered, well = np.bincount(places, minlength=count), np.bincount(places[good], minlength=count)
    return {
        "seconds": until_s - since_s,
        "offered": len(due),
        "good": int(good.sum()),
        "late": int((answered & ~good).sum()),
        "refused": int(refused.sum()),
        "missed": int((~good & ~refused).sum()),
        "statuses": {
            NAMES.get(code, str(code)): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
        },
        "p50_ms": percentile_ms(took[answered], 50),
        "p99_ms": percentile_ms(took[answered], 99),
        "refused_p99_ms": percentile_ms(took[refused], 99),
        "buckets": [float(w / o) if o else None for o, w in zip(offered, well, strict=True)],
    }


def recovery_s(buckets: Sequence[float | None]) -> float | None:
    """How long it took until answers were good, and stayed so to the end, in quarters of a second; None: too long."""
    bad = [place for place, share in enumerate(buckets) if share is not None and share < RECOVERED_SHARE]
    if bad and bad[-1] == len(buckets) - 1:
        return None
    return (bad[-1] + 1) * BUCKET_S if bad else 0.0


def percentile_ms(took: Sequence[float] | NDArray[np.float64], percent: float) -> float:
    """In milliseconds, of seconds; 0 if there are none."""
    return 1e3 * float(np.percentile(took, percent)) if len(took) else 0.0
