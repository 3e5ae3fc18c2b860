"""The journal of a server that is to forget everything when it stops."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from server.domain.journal import DeltasRejected, Entry, Record
from server.storage.codec import encode


class MemoryJournal:
    """`Journal` in memory. With `keep`, entries but the last so many are forgotten by themselves."""

    def __init__(self, keep: int | None = None) -> None:
        # Entries are immutable, so that they are kept themselves; only the caller's sequence of them is not.
        self._entries: deque[Entry] = deque(maxlen=keep)
        self._head = 0

    @property
    def first(self) -> int:
        """The offset of the oldest entry that is kept."""
        return self._head - len(self._entries) + 1

    @property
    def head(self) -> int:
        """The offset of the last entry."""
        return self._head

    async def append(self, entries: Sequence[Entry]) -> None:
        """Puts entries behind the head."""
        self._entries.extend(entries)
        self._head += len(entries)

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order."""
        return self._where(lambda entry: True, after, limit)

    async def rejected(self, source: str, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `DeltasRejected` behind an offset, of one source or of all."""
        return self._where(
            lambda entry: isinstance(entry, DeltasRejected) and source in ("", entry.source), after, limit
        )

    async def mentioning(self, identifiers: Sequence[str], after: int, limit: int) -> list[Record]:
        """Up to `limit` entries that would have one of these identifiers in their bytes, perhaps as part of another."""
        wanted = [identifier.encode() for identifier in identifiers]

        def mentions(entry: Entry) -> bool:
            body = encode(entry).body
            return any(identifier in body for identifier in wanted)

        return self._where(mentions, after, limit)

    async def rewrite(self, records: Sequence[Record]) -> None:
        """Replaces entries in their places, if they are still kept."""
        for offset, entry in records:
            if self.first <= offset <= self._head:
                self._entries[offset - self.first] = entry

    async def truncate(self, through: int) -> None:
        """Forgets the entries up to an offset."""
        for _ in range(self.first, min(through, self._head) + 1):
            self._entries.popleft()

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _where(self, chosen: Callable[[Entry], bool], after: int, limit: int) -> list[Record]:
        start = max(after - self.first + 1, 0)
        kept = enumerate(islice(self._entries, start, None), self.first + start)
        return list(islice((Record(offset, entry) for offset, entry in kept if chosen(entry)), max(limit, 0)))
