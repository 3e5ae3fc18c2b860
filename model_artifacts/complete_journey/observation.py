"""How much of a campaign can be seen before the data are cut, and what to do about the rest.

A campaign that is still running at the cut shows only a part of its redemptions; read as they are, its pairs
look less likely to be redeemed than they are. Its positive pairs are therefore weighted by one over the share
that can be seen, estimated from when the redemptions of ended campaigns came.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from model_artifacts.complete_journey.dataset import Dataset

_PRIOR_REDEMPTIONS = 10.0  # how many redemptions an even spread over the campaign weighs as much as


def shares(dataset: Dataset) -> dict[int, float]:
    """By campaign: which share of its redemptions is expected to be dated before `dataset.until`, in (0, 1].

    Campaigns of type A are compared with each other, B and C are pooled.
    """
    until = np.datetime64(dataset.until)
    table = dataset.campaigns.assign(length=lambda rows: (rows["end"] - rows["start"]).dt.days + 1)
    table["elapsed"] = (until - table["start"]).dt.days.clip(lower=1) / table["length"]
    table["pool"] = table["type"].where(table["type"] == "A", "B+C")
    timed = dataset.redemptions.merge(table, on="campaign")
    timed = timed[timed["elapsed"] >= 1.0]
    timed["at"] = ((timed["day"] - timed["start"]).dt.days + 1) / timed["length"]
    return {
        int(row.campaign): _share(timed.loc[timed["pool"] == row.pool, "at"], row.elapsed) for row in table.itertuples()
    }


def _share(times: pd.Series, elapsed: float) -> float:
    if elapsed >= 1.0:
        return 1.0
    return float(((times <= elapsed).sum() + _PRIOR_REDEMPTIONS * elapsed) / (len(times) + _PRIOR_REDEMPTIONS))
