"""The Parquet file of a batch: a row for each offer of each customer, in the order of customers and slots.

It is written beside its place, a row group at a time, and takes its name when it is whole. It says of customers what
they are called, so it is for its owner only.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from server.domain.decision import Rung, Shown
from server.execution.batch import Answers

ROWS_AT_ONCE = 1 << 17
"""Rows of a row group, about."""

PREFIX = "opportune."
"""What the names of the file's metadata begin with."""


class RankingFile:
    """A file that is being written; leaving it with an exception leaves nothing behind."""

    def __init__(self, path: Path, shown: Sequence[Shown], metadata: Mapping[str, str], *, replace: bool) -> None:
        """Makes the partial file.

        Args:
            shown: What is shown of each offer of the catalog.
            metadata: What the file says of itself.
            replace: Whether a file of this name may be replaced.

        Raises:
            FileExistsError: there is a file, and it may not.
            OSError, RuntimeError: it cannot be written, or pyarrow is missing.
        """
        self._arrow, parquet = _pyarrow()
        self._path, self._replace = path, replace
        self._require_free()
        arrow = self._arrow
        self._offer_ids = arrow.array([each.offer_id for each in shown], arrow.string())
        self._creative_ids = arrow.array([each.creative_id for each in shown], arrow.string())
        self._rungs = arrow.array([Rung.FULL.name, Rung.DEFAULT.name], arrow.string())
        self._values = np.array([each.value for each in shown], np.float64)
        self._schema = _schema(arrow).with_metadata({f"{PREFIX}{name}": value for name, value in metadata.items()})
        self._waiting: list[Any] = []
        self._waiting_rows = 0
        self.rows = 0
        descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        self._partial = Path(partial)
        self._file = os.fdopen(descriptor, "wb")
        self._writer = parquet.ParquetWriter(self._file, self._schema)

    def write(self, answers: Answers) -> None:
        """Adds the answers to some customers."""
        slates, arrow = answers.slates, self._arrow
        if not len(slates.customers):
            return
        names = arrow.array(answers.names, arrow.string())
        columns = [
            names.take(arrow.array(slates.customers)),
            arrow.array(slates.slots.astype(np.int16)),
            self._offer_ids.take(arrow.array(slates.offers)),
            self._creative_ids.take(arrow.array(slates.offers)),
            arrow.array(slates.propensities),
            arrow.array(self._values.take(slates.offers)),
            arrow.array(slates.expected_values),
            self._rungs.take(arrow.array(answers.failed.take(slates.customers).astype(np.int8))),
        ]
        self._waiting.append(arrow.record_batch(columns, schema=self._schema))
        self._waiting_rows += len(slates.customers)
        self.rows += len(slates.customers)
        if self._waiting_rows >= ROWS_AT_ONCE:
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                # Otherwise it would be closed when it is collected, behind the file.
                with suppress(OSError):
                    self._writer.close()
        finally:
            self._file.close()
            self._partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        table = self._arrow.Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(table, row_group_size=len(table))
        self._waiting, self._waiting_rows = [], 0

    def _finish(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._require_free()
        self._partial.replace(self._path)

    def _require_free(self) -> None:
        if not self._replace and self._path.exists():
            raise FileExistsError(f"there is a file {self._path} already; --force replaces it")


def _schema(arrow: Any) -> Any:
    return arrow.schema(
        [
            arrow.field("customer_id", arrow.string(), nullable=False),
            arrow.field("slot", arrow.int16(), nullable=False),
            arrow.field("offer_id", arrow.string(), nullable=False),
            arrow.field("creative_id", arrow.string(), nullable=False),
            arrow.field("propensity", arrow.float64(), nullable=False),
            arrow.field("value", arrow.float64(), nullable=False),
            arrow.field("expected_value", arrow.float64(), nullable=False),
            arrow.field("rung", arrow.string(), nullable=False),
        ]
    )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise RuntimeError("writing Parquet needs pyarrow: install opportune[bulk]") from None
    return pyarrow, parquet
