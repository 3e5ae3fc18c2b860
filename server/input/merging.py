"""What the rows of several identifiers come to together, by the merge rule of each attribute.

It is worked out from the members' rows alone, whatever their order, so it is the same however they were joined.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import LARGEST, FloatRow, IntRow, MergeRule, Schema
from server.input.aggregates import Aggregates
from server.input.event_times import NEVER, TimeRow


class Member(NamedTuple):
    """What one identifier brings: its row, the event time of each settable cell, and its consents.

    `granted` and `recorded` are bits by purpose, `consent_times` int64 [purposes].
    """

    values: FloatRow
    times: TimeRow
    granted: int
    recorded: int
    consent_times: TimeRow


class MergeRules:
    """The merge rules of a schema. Immutable once made."""

    def __init__(self, schema: Schema, aggregates: Aggregates) -> None:
        self._width = schema.settable_width
        self._decayed = aggregates.decayed
        landmarks = {decayed.landmark for decayed in self._decayed}
        scaled = {column for decayed in self._decayed for column in decayed.columns.tolist()}
        self._columns: dict[MergeRule, IntRow] = {}
        for rule in MergeRule:
            columns = [
                column
                for column, attribute in enumerate(schema.attribute_of_column)
                if attribute.merge is rule and column not in landmarks | scaled
            ]
            self._columns[rule] = np.array(columns, np.intp)

    def merge(self, members: Sequence[Member], into: FloatRow) -> None:
        """Fills a row with what the members come to, without their day buckets."""
        values = np.stack([member.values for member in members])
        self._latest(values, np.stack([member.times for member in members]), into)
        columns = self._columns[MergeRule.MAX]
        into[columns] = np.fmax.reduce(values[:, columns])
        columns = self._columns[MergeRule.SUM]
        into[columns] = _sum(values[:, columns])
        columns = self._columns[MergeRule.UNION]
        into[columns] = _union(values[:, columns])
        for decayed in self._decayed:
            landmarks = values[:, decayed.landmark].astype(np.float64)
            into[decayed.landmark] = landmark = np.fmax.reduce(landmarks)
            scale = np.nan_to_num(np.exp2(np.maximum(landmarks - landmark, -200.0)))
            into[decayed.columns] = _sum(values[:, decayed.columns] * scale[:, None])

    def _latest(self, values: FloatRow, times: NDArray[np.int64], into: FloatRow) -> None:
        """The value with the latest event time; a removal counts as one. Amounts that were only added have no time."""
        columns = self._columns[MergeRule.LATEST]
        columns = columns[columns < self._width]
        present = ~np.isnan(values[:, columns])
        ages = times[:, columns]
        ages = np.where(present & (ages == NEVER), NEVER + 1, ages)
        into[columns] = np.take_along_axis(values[:, columns], ages.argmax(axis=0)[None], axis=0)[0]


def merged_consents(members: Sequence[Member]) -> tuple[int, int]:
    """The granted and recorded bits of all: of each purpose the latest answer; of two at once, the refusal."""
    granted = recorded = 0
    for bit in range(len(members[0].consent_times)):
        answers = [
            (member.consent_times[bit], not member.granted >> bit & 1)
            for member in members
            if member.recorded >> bit & 1
        ]
        if answers:
            recorded |= 1 << bit
            granted |= (not max(answers)[1]) << bit
    return granted, recorded


def _sum(values: FloatRow) -> FloatRow:
    present = ~np.isnan(values)
    sums = np.where(present, values, 0).sum(axis=0, dtype=np.float64)
    total: FloatRow = np.minimum(np.maximum(sums, -LARGEST), LARGEST).astype(np.float32)
    total[~present.any(axis=0)] = np.nan
    return total


def _union(values: FloatRow) -> FloatRow:
    present = ~np.isnan(values)
    bits = np.where(present, values, 0).astype(np.int32)
    union: FloatRow = np.bitwise_or.reduce(bits, axis=0).astype(np.float32)
    union[~present.any(axis=0)] = np.nan
    return union
