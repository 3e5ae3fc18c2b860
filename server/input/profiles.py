"""The profile table: a customer is a row of float32 columns in a block, never an object.

Blocks of 4,096 rows are added as customers come, so growth copies nothing. One event loop owns the table.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.domain.attribute import AttributeType, FloatRow, IntRow, Schema
from server.domain.errors import invalid_field
from server.input.deltas import Change, apply_changes

BLOCK_ROWS = 4_096
MAX_PURPOSES = 32


class ProfileRow(NamedTuple):
    """What a decision reads of a customer: a view of the row, the columns it may not read, the row's version."""

    values: FloatRow
    unreadable: IntRow
    version: int


@dataclass(frozen=True, slots=True)
class _Block:
    """4,096 customers: float32 [rows, columns], and for each row version, time of change and consent bits."""

    values: FloatRow
    versions: NDArray[np.int64]
    update_days: NDArray[np.float64]
    granted: NDArray[np.uint32]
    recorded: NDArray[np.uint32]


class ProfileTable:
    """Every customer's attributes, consents and version."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._rows: dict[str, int] = {}
        self._blocks: list[_Block] = []
        self._purposes: list[str] = []
        self._unreadable: dict[int, IntRow] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, customer_id: str) -> ProfileRow | None:
        """What is known about a customer, or None. The values are a view: do not keep or change them."""
        row = self._rows.get(customer_id)
        if row is None:
            return None
        block, place = self._blocks[row // BLOCK_ROWS], row % BLOCK_ROWS
        unreadable = self._unreadable_columns(int(block.granted[place]))
        return ProfileRow(block.values[place], unreadable, int(block.versions[place]))

    def update(self, customer_id: str, changes: list[Change], version: int, time_days: float) -> None:
        """Applies compiled changes to a customer, who is created if unknown."""
        block, place = self._place(customer_id)
        apply_changes(changes, block.values[place])
        self._touch(block, place, version, time_days)

    def record_consent(self, customer_id: str, purpose: str, granted: bool, version: int, time_days: float) -> None:
        """Records a customer's answer for a purpose, which must be one of the schema's.

        Raises:
            OpportuneError: INVALID_FIELD if catalogs have named more than 32 purposes since the start.
        """
        if purpose not in self._purposes:
            if len(self._purposes) == MAX_PURPOSES:
                raise invalid_field("consent.purpose", f"would be more than {MAX_PURPOSES} purposes")
            self._purposes.append(purpose)
        bit = np.uint32(1 << self._purposes.index(purpose))
        block, place = self._place(customer_id)
        block.recorded[place] |= bit
        block.granted[place] = (block.granted[place] | bit) if granted else (block.granted[place] & ~bit)
        self._touch(block, place, version, time_days)

    def consents(self, customer_id: str) -> dict[str, bool]:
        """The recorded answers of a known customer, by purpose."""
        row = self._rows[customer_id]
        block, place = self._blocks[row // BLOCK_ROWS], row % BLOCK_ROWS
        recorded, granted = int(block.recorded[place]), int(block.granted[place])
        return {purpose: bool(granted >> bit & 1) for bit, purpose in enumerate(self._purposes) if recorded >> bit & 1}

    def update_days(self, customer_id: str) -> float:
        """When a known customer's last change happened, in days since 2020."""
        row = self._rows[customer_id]
        return float(self._blocks[row // BLOCK_ROWS].update_days[row % BLOCK_ROWS])

    def relayout(self, schema: Schema) -> None:
        """Moves every row to another schema. Columns that both declare alike keep their values, others are missing.

        Cost: one copy of the table, block by block; nothing if only the offers changed.
        """
        self._keep_purposes(schema)
        if schema.attributes != self.schema.attributes:
            moves = list(_moves(self.schema, schema))
            for number, block in enumerate(self._blocks):
                values = np.full((BLOCK_ROWS, schema.width), np.nan, np.float32)
                for source, target, recode in moves:
                    column = block.values[:, source]
                    values[:, target] = column if recode is None else _recoded(column, recode)
                _move_sets(block.values, self.schema, values, schema)
                self._blocks[number] = _Block(values, block.versions, block.update_days, block.granted, block.recorded)
        self.schema = schema
        self._unreadable = {}

    def _keep_purposes(self, schema: Schema) -> None:
        """Forgets the answers for purposes that no attribute asks for any more, so that their bits can be reused."""
        kept = [purpose for purpose in self._purposes if purpose in schema.purposes]
        if kept == self._purposes:
            return
        bits = [(self._purposes.index(purpose), bit) for bit, purpose in enumerate(kept)]
        for block in self._blocks:
            for flags in (block.granted, block.recorded):
                moved = np.zeros_like(flags)
                for old, new in bits:
                    moved |= (flags >> np.uint32(old) & np.uint32(1)) << np.uint32(new)
                flags[:] = moved
        self._purposes = kept

    def _unreadable_columns(self, granted: int) -> IntRow:
        columns = self._unreadable.get(granted)
        if columns is None:
            purposes = frozenset(purpose for bit, purpose in enumerate(self._purposes) if granted >> bit & 1)
            columns = self._unreadable[granted] = self.schema.columns_without(purposes)
        return columns

    def _place(self, customer_id: str) -> tuple[_Block, int]:
        row = self._rows.get(customer_id)
        if row is None:
            row = len(self._rows)
            if row == len(self._blocks) * BLOCK_ROWS:
                self._blocks.append(_empty_block(self.schema.width))
            self._rows[customer_id] = row
        return self._blocks[row // BLOCK_ROWS], row % BLOCK_ROWS

    @staticmethod
    def _touch(block: _Block, place: int, version: int, time_days: float) -> None:
        block.versions[place] = version
        block.update_days[place] = max(time_days, block.update_days[place])


def _empty_block(width: int) -> _Block:
    return _Block(
        values=np.full((BLOCK_ROWS, width), np.nan, np.float32),
        versions=np.zeros(BLOCK_ROWS, np.int64),
        update_days=np.full(BLOCK_ROWS, -np.inf, np.float64),
        granted=np.zeros(BLOCK_ROWS, np.uint32),
        recorded=np.zeros(BLOCK_ROWS, np.uint32),
    )


def _moves(before: Schema, after: Schema) -> list[tuple[int, int, FloatRow | None]]:
    """Source column, target column and, where the codes of a category changed, the new code of each old one."""
    moves: list[tuple[int, int, FloatRow | None]] = []
    for name, target in after.columns.items():
        source = before.columns.get(name)
        if source is None:
            continue
        old, new = before.attribute_of_column[source], after.attribute_of_column[target]
        if old.type is not new.type or old.type is AttributeType.SET:
            continue
        recode = None
        if old.values != new.values:
            codes = after.codes[new.id]
            recode = np.array([codes.get(value, np.nan) for value in old.values], np.float32)
        moves.append((source, target, recode))
    return moves


def _move_sets(before: FloatRow, old: Schema, after: FloatRow, new: Schema) -> None:
    """Moves the sets that both schemas declare; members that the new one does not know are forgotten."""
    for attribute in new.attributes:
        known = old.by_id.get(attribute.id)
        if attribute.type is not AttributeType.SET or known is None or known.type is not AttributeType.SET:
            continue
        present = ~np.isnan(before[:, old.columns[attribute.id]])
        targets = np.array([new.columns[name] for name in attribute.column_names()], np.intp)
        after[np.ix_(present, targets)] = 0
        for value in set(known.values) & set(attribute.values):
            source, bit = old.member(known, value)
            target, new_bit = new.member(attribute, value)
            members = present.copy()
            members[present] = (before[present, source].astype(np.int32) & bit) != 0
            after[members, target] += new_bit


def _recoded(column: FloatRow, codes: FloatRow) -> FloatRow:
    present = ~np.isnan(column)
    recoded = np.full_like(column, np.nan)
    recoded[present] = codes[column[present].astype(np.intp)]
    return recoded
