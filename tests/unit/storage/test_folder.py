import stat
from pathlib import Path

import pytest

from server.storage.folder import DataFolder, FolderInUseError


def test_missing_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "opportune"

    DataFolder.open(path).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_two_servers_cannot_share_a_folder(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(FolderInUseError, match=f"another server uses {tmp_path}"):
        DataFolder.open(tmp_path)


def test_folder_is_free_when_its_server_has_left(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()

    DataFolder.open(tmp_path).close()


def test_folder_knows_its_files(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        paths = [folder.journal, folder.snapshots, folder.vault, folder.decisions, folder.erasures]

    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "journal.db", "snapshots", "vault.db", "decisions.db", "erasures",
    ]  # fmt: skip


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match="file"):
        DataFolder.open(tmp_path / "file")
