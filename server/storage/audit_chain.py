"""The lines of the audit log: JSON, each with the hash of the one before and its own, and how they are verified.

A line's hash is SHA-256 over its text up to the hash, and the hash of the line before is part of that text. So nobody
changes, drops or moves a line without making all behind it anew; and the head, which is a file of its own, tells how
many there must be. Note the head elsewhere now and then: whoever can write both files can make both anew.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

FIRST = "0" * 64
"""What the first line of all has in the place of a hash before it."""

HEAD = "head"
PATTERN = "audit-[0-9]*.jsonl"

_SUFFIX_BYTES = len(',"hash":""}') + 64
_head = re.compile(r'\{"number":(\d{15}),"hash":"([0-9a-f]{64})"\}\n').fullmatch


class Link(NamedTuple):
    """The end of a chain: how many lines there are, and the hash of the last."""

    number: int = 0
    hash: str = FIRST

    def text(self) -> str:
        """As it stands in the head's file; every head is of the same length."""
        return f'{{"number":{self.number:015d},"hash":"{self.hash}"}}\n'


class BrokenChainError(RuntimeError):
    """The log is not what was written; the message names the first line that is not."""


class Verified(NamedTuple):
    """What was found.

    Attributes:
        first: The number of the first line; above 1 if older files were taken away.
        last: The end of the chain.
        files: How many files were read.
        end: Where the last line of the newest ends, in bytes.
    """

    first: int
    last: Link
    files: int
    end: int


def chained(previous: Link, content: dict[str, Any]) -> tuple[bytes, Link]:
    """The line of content behind another, and the chain's new end."""
    entry = {"number": previous.number + 1, **content, "previous": previous.hash}
    text = json.dumps(entry, separators=(",", ":"))[:-1].encode()
    digest = sha256(text).hexdigest()
    return text + f',"hash":"{digest}"}}\n'.encode(), Link(previous.number + 1, digest)


def read_head(folder: Path) -> Link | None:
    """How far the log goes at least, None if there is no head.

    Raises:
        BrokenChainError: it is not readable.
        OSError: it cannot be read.
    """
    path = folder / HEAD
    if not path.exists() or not path.stat().st_size:
        return None
    found = _head(path.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise BrokenChainError(f"{path} is not a head of an audit log")
    return Link(int(found[1]), found[2])


def name_of(number: int) -> str:
    """The name of the file that begins with a line."""
    return f"audit-{number:015d}.jsonl"


def files_of(folder: Path) -> list[Path]:
    """The files, oldest first."""
    return sorted(folder.glob(PATTERN))


def verify(folder: Path) -> Verified:
    """Reads the whole log; a server may be writing to it.

    Raises:
        BrokenChainError: with the first line that is not as it was written.
        OSError: a file cannot be read.
    """
    # First, as lines may be added meanwhile.
    head = read_head(folder)
    return _verified(folder, head, files_of(folder), is_cut=False)


def verify_end(folder: Path) -> Verified:
    """Reads only the newest files. What is behind the head and not whole was never acknowledged: the log ends there.

    Raises:
        BrokenChainError, OSError: as `verify`.
    """
    return _verified(folder, read_head(folder), files_of(folder)[-2:], is_cut=True)


def _verified(folder: Path, head: Link | None, files: list[Path], *, is_cut: bool) -> Verified:
    if not files:
        if head is not None and head.number:
            raise BrokenChainError(f"{folder} has no lines, and its head says that there are {head.number:,}")
        return Verified(1, Link(), 0, 0)
    if head is None:
        raise BrokenChainError(f"{folder / HEAD} is missing")
    first = last = _before(files[0], head)
    end, known = 0, head == first
    for path in files:
        if path.name != name_of(last.number + 1):
            raise BrokenChainError(f"{path.name} does not begin with line {last.number + 1:,}: a file is missing")
        end = 0
        try:
            for link in _links(path, last, is_last=path == files[-1]):
                end, last = link
                known = known or _is_known(path, head, last)
        except BrokenChainError:
            if not (is_cut and known and path == files[-1]):
                raise
    if not known:
        raise BrokenChainError(f"the log ends with line {last.number:,}, and its head says {head.number:,}")
    return Verified(first.number + 1, last, len(files), end)


def _links(path: Path, last: Link, *, is_last: bool) -> Iterator[tuple[int, Link]]:
    """The end of each line in bytes, with the chain's end there. A last line that is not whole was never acknowledged.

    Raises:
        BrokenChainError: a line does not fit to the one before.
    """
    end = 0
    with path.open("rb") as lines:
        for place, line in enumerate(lines, 1):
            if not line.endswith(b"\n") and is_last:
                return
            last = _next(path, place, line, last)
            end += len(line)
            yield end, last


def _next(path: Path, place: int, line: bytes, last: Link) -> Link:
    where = f"{path.name}, line {place:,}"
    text, found = line[: -_SUFFIX_BYTES - 1], line[-_SUFFIX_BYTES - 1 :]
    digest = sha256(text).hexdigest()
    if found != f',"hash":"{digest}"}}\n'.encode():
        raise BrokenChainError(f"{where}: it is not what was written")
    entry = json.loads(text + b"}")
    if entry["previous"] != last.hash or entry["number"] != last.number + 1:
        raise BrokenChainError(f"{where}: it does not follow the line before, number {last.number:,}")
    return Link(last.number + 1, digest)


def _before(path: Path, head: Link) -> Link:
    """The end of the chain before a file, which may be the oldest that was kept."""
    number = int(path.stem.removeprefix("audit-"))
    if number == 1:
        return Link()
    with path.open("rb") as lines:
        line = lines.readline()
    if not line and head.number == number - 1:
        return head
    try:
        return Link(number - 1, str(json.loads(line)["previous"]))
    except (ValueError, KeyError, TypeError):
        raise BrokenChainError(f"{path.name}, line 1: it is not what was written") from None


def _is_known(path: Path, head: Link, last: Link) -> bool:
    """Whether the chain has come to its head."""
    if head.number == last.number and head != last:
        raise BrokenChainError(f"{path.name}: line {last.number:,} is another than the head knows")
    return head == last
