"""What a deletion may have left in a database's file.

SQLite's `secure_delete` overwrites what is deleted. But where it has moved rows from page to page before, it leaves
copies behind in unused bytes, which no later deletion reaches: of 500 deleted customers about 2 were still to be found.
So whoever must be sure looks into the file itself.
"""

from collections.abc import Set
from pathlib import Path

from server.storage.sealing import nonce_of

MAX_NEEDLES = 256
"""Looking for more takes longer than writing the file anew."""

_CHUNK_BYTES = 64 * 1024
"""Searched at once: some microseconds, so that the event loop has its turn."""


class Remains:
    """Rows that are deleted, by what a copy of them would be recognised by."""

    def __init__(self) -> None:
        self.unknown = False
        """Whether there are rows that nobody remembers."""
        self._nonces: set[bytes] = set()
        self._places: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        return self.unknown or bool(self._places)

    def __len__(self) -> int:
        return len(self._nonces) + len(self._places)

    def add(self, identifier: str, attribute: str, sealed: bytes | None) -> None:
        """Remembers a row."""
        self._places.add((identifier, attribute))
        if sealed is not None:
            self._nonces.add(nonce_of(sealed))

    def update(self, other: "Remains") -> None:
        """Remembers the rows of another one too."""
        self.unknown |= other.unknown
        self._nonces |= other._nonces
        self._places |= other._places

    def identifiers(self) -> list[str]:
        """The identifiers of the rows."""
        return sorted({identifier for identifier, _ in self._places})

    def are_in(self, path: Path, held: Set[tuple[str, str]]) -> bool:
        """Whether any of it is in a file; `held` are identifiers and attributes that rightly are. Reads all of it."""
        # In a row and in an index alike, the attribute stands right behind the identifier.
        places = {(identifier + attribute).encode() for identifier, attribute in self._places - held}
        needles = self._nonces | places
        overlap = max(map(len, needles), default=1) - 1
        with path.open("rb") as file:
            chunk = b""
            while more := file.read(_CHUNK_BYTES):
                chunk = chunk[-overlap:] + more if overlap else more
                if any(needle in chunk for needle in needles):
                    return True
        return False
