import logging
import os
from pathlib import Path

import pytest

from server.wire.reloaded import Reloaded


def number_in(path: Path) -> Reloaded[int]:
    return Reloaded((path,), lambda: int(path.read_text()))


def test_change_is_taken_once(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    number = number_in(path)

    before = number.refresh()
    path.write_text("23")
    after = [number.refresh(), number.refresh()]

    assert (before, after, number.content) == (False, [True, False], 23)


def test_file_that_was_replaced_by_one_of_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    path, other = tmp_path / "number", tmp_path / "other"
    path.write_text("1")
    other.write_text("2")
    for each in (path, other):
        os.utime(each, ns=(10**18, 10**18))
    number = number_in(path)

    other.rename(path)

    assert number.refresh()
    assert number.content == 2


def test_file_that_was_written_over_by_as_much_at_the_same_time_is_read(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    os.utime(path, ns=(10**18, 10**18))
    number = number_in(path)

    before_ns = path.stat().st_ctime_ns
    # The clock of files ticks every few milliseconds.
    while path.stat().st_ctime_ns == before_ns:
        path.write_text("2")
        os.utime(path, ns=(10**18, 10**18))

    assert number.refresh()
    assert number.content == 2


def test_file_that_could_not_be_read_is_told_of_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    locked: list[bool] = []

    def read() -> int:
        if locked:
            raise PermissionError(f"{path} is not for you")
        return int(path.read_text())

    number = Reloaded((path,), read)
    path.write_text("23")
    locked.append(True)
    changed = [number.refresh() for _ in range(3)]
    told = [record.levelno for record in caplog.records]
    locked.clear()
    changed += [number.refresh(), number.refresh()]

    assert (changed, number.content) == ([False, False, False, True, False], 23)
    assert told == [logging.ERROR]


def test_broken_change_is_told_of_once_and_what_was_read_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    number = number_in(path)

    path.write_text("one")
    changed = [number.refresh() for _ in range(3)]
    path.unlink()
    changed.append(number.refresh())

    assert (changed, number.content) == ([False] * 4, 1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert str(path) in caplog.text


def test_good_file_after_a_broken_one_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1")
    number = number_in(path)

    path.write_text("one")
    number.refresh()
    path.write_text("345")

    assert number.refresh()
    assert number.content == 345


def test_file_that_is_broken_at_first_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("one")

    with pytest.raises(ValueError, match="one"):
        number_in(path)
