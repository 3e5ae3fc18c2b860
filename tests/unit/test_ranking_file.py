"""The Parquet file of a batch: what is in it, and that there is never half of one."""

import stat
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from server import ranking_file
from server.domain.decision import Shown
from server.execution.batch import Answers
from server.execution.batch_slates import Slates
from server.ranking_file import RankingFile

SHOWN = [Shown("a", "a-web", 1.5), Shown("b", "b-web", -2.0)]


def answers(*names: str, failed: bool = False) -> Answers:
    """Two offers for each customer, b first."""
    count = len(names)
    return Answers(
        names,
        np.full(count, failed),
        Slates(
            np.repeat(np.arange(count), 2),
            np.tile([0, 1], count),
            np.tile([1, 0], count),
            np.tile([0.25, 0.125], count),
            np.tile([-0.5, 0.1875], count),
        ),
    )


def opened(path: Path, *, replace: bool = False) -> RankingFile:
    return RankingFile(path, SHOWN, {"catalog_version": "7"}, replace=replace)


def test_file_has_a_row_for_each_offer_of_each_customer(tmp_path: Path) -> None:
    path = tmp_path / "ranked.parquet"
    nobody, no_numbers = np.empty(0, np.intp), np.empty(0)
    nothing = Answers(["c:2"], np.zeros(1, np.bool_), Slates(nobody, nobody, nobody, no_numbers, no_numbers))

    with opened(path) as file:
        file.write(answers("c:1"))
        file.write(nothing)
        file.write(answers("c:ü", failed=True))

    assert file.rows == 4
    table = parquet.read_table(path)
    assert table.to_pylist()[:2] == [
        {"customer_id": "c:1", "slot": 0, "offer_id": "b", "creative_id": "b-web", "propensity": 0.25, "value": -2.0,
         "expected_value": -0.5, "rung": "FULL"},
        {"customer_id": "c:1", "slot": 1, "offer_id": "a", "creative_id": "a-web", "propensity": 0.125, "value": 1.5,
         "expected_value": 0.1875, "rung": "FULL"},
    ]  # fmt: skip
    assert table.column("customer_id").to_pylist() == ["c:1", "c:1", "c:ü", "c:ü"]
    assert table.column("rung").to_pylist()[2:] == ["DEFAULT", "DEFAULT"]
    assert parquet.read_schema(path).metadata[b"opportune.catalog_version"] == b"7"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_file_without_rows_is_one_all_the_same(tmp_path: Path) -> None:
    with opened(tmp_path / "ranked.parquet"):
        pass

    assert parquet.read_table(tmp_path / "ranked.parquet").num_rows == 0


def test_rows_are_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking_file, "ROWS_AT_ONCE", 4)

    with opened(tmp_path / "ranked.parquet") as file:
        for number in range(5):
            file.write(answers(f"c:{number}"))

    metadata = parquet.ParquetFile(tmp_path / "ranked.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [4, 4, 2]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "ranked.parquet"
    path.write_bytes(b"old")

    with pytest.raises(error), opened(path, replace=True) as file:
        file.write(answers("c:1"))
        raise error

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_that_is_there_is_replaced_only_if_it_may_be(tmp_path: Path) -> None:
    path = tmp_path / "ranked.parquet"
    path.write_bytes(b"old")

    with pytest.raises(FileExistsError, match="--force"):
        opened(path)
    with opened(path, replace=True):
        assert path.read_bytes() == b"old"

    assert parquet.read_table(path).num_rows == 0


def test_file_that_somebody_else_has_made_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ranked.parquet"

    with pytest.raises(FileExistsError), opened(path):
        path.write_bytes(b"theirs")

    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "nowhere" / "ranked.parquet")
