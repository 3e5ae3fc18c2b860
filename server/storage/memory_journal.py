"""The journal of a server that is to forget everything when it stops."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from server.domain.journal import DeltasRejected, Entry, Record
from server.storage.codec import PUBLISHED_KIND, REJECTED_KIND, Encoded, decode, encode


class MemoryJournal:
    """`Journal` in memory. With `keep_bytes`, the oldest entries are forgotten when the others take so much.

    Entries are kept as they would be written: a thousand objects less for each, and nobody can change them.
    """

    def __init__(self, keep_bytes: int | None = None) -> None:
        self._entries: deque[Encoded] = deque()
        self._keep_bytes = keep_bytes
        self._bytes = 0
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
        encoded = [encode(entry) for entry in entries]
        self._entries.extend(encoded)
        self._head += len(encoded)
        self._bytes += sum(len(entry.body) for entry in encoded)
        while self._keep_bytes is not None and self._bytes > self._keep_bytes:
            self._forget_oldest()

    async def read(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries behind an offset, in order."""
        return self._where(lambda entry: True, after, limit)

    async def rejected(self, source: str, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `DeltasRejected` behind an offset, of one source or of all."""
        found = self._where(lambda entry: entry.kind == REJECTED_KIND, after, self._head)
        of_source = (record for record in found if source in ("", _source(record.entry)))
        return list(islice(of_source, max(limit, 0)))

    async def published(self, after: int, limit: int) -> list[Record]:
        """Up to `limit` entries of the kind `CatalogPublished` behind an offset."""
        return self._where(lambda entry: entry.kind == PUBLISHED_KIND, after, limit)

    async def mentioning(self, identifiers: Sequence[str], after: int, limit: int) -> list[Record]:
        """Up to `limit` entries that have one of these identifiers in their bytes, perhaps as part of another."""
        wanted = [identifier.encode() for identifier in identifiers]
        return self._where(lambda entry: any(identifier in entry.body for identifier in wanted), after, limit)

    async def rewrite(self, records: Sequence[Record]) -> None:
        """Replaces entries in their places, if they are still kept."""
        for offset, entry in records:
            if self.first <= offset <= self._head:
                place = offset - self.first
                encoded = encode(entry)
                self._bytes += len(encoded.body) - len(self._entries[place].body)
                self._entries[place] = encoded

    async def truncate(self, through: int) -> None:
        """Forgets the entries up to an offset."""
        for _ in range(self.first, min(through, self._head) + 1):
            self._forget_oldest()

    async def close(self) -> None:
        """Has nothing to let go of."""

    def _forget_oldest(self) -> None:
        self._bytes -= len(self._entries.popleft().body)

    def _where(self, chosen: Callable[[Encoded], bool], after: int, limit: int) -> list[Record]:
        start = max(after - self.first + 1, 0)
        kept = enumerate(islice(self._entries, start, None), self.first + start)
        found = ((offset, entry) for offset, entry in kept if chosen(entry))
        return [Record(offset, decode(entry)) for offset, entry in islice(found, max(limit, 0))]


def _source(entry: Entry) -> str:
    return entry.source if isinstance(entry, DeltasRejected) else ""
