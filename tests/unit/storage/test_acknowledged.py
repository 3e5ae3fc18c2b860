from pathlib import Path

import pytest

from server.storage.acknowledged import Acknowledged, read_note


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "note"


def noted(path: Path) -> int | None:
    with Acknowledged.open(path) as note:
        return note.read()


def test_new_note_says_nothing(path: Path) -> None:
    assert noted(path) is None


@pytest.mark.parametrize("offset", [0, 1, 2**63])
def test_note_says_the_last_offset(path: Path, offset: int) -> None:
    with Acknowledged.open(path) as note:
        note.write(7)
        note.write(offset)

    assert noted(path) == offset


def test_note_is_in_the_file_without_a_sync(path: Path) -> None:
    with Acknowledged.open(path) as note:
        note.write(7)

        assert noted(path) == 7


def test_note_with_a_flipped_bit_says_nothing(path: Path) -> None:
    with Acknowledged.open(path) as note:
        note.write(7)
    written = path.read_bytes()

    for bit in range(len(written) * 8):
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert noted(path) is None


@pytest.mark.parametrize("content", [b"", b"short", bytes(16), bytes(100)])
def test_anything_else_says_nothing_and_can_be_written_over(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert noted(path) is None

    with Acknowledged.open(path) as note:
        note.write(7)
    assert noted(path) == 7


def test_note_is_read_without_being_made_or_changed(path: Path) -> None:
    assert read_note(path) is None
    assert not path.exists()
    with Acknowledged.open(path) as note:
        assert read_note(path) is None
        note.write(7)
        assert read_note(path) == 7
    content = path.read_bytes()

    path.write_bytes(content[:-1])
    assert read_note(path) is None
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert read_note(path) is None
