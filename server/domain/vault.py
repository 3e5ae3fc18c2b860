"""The vault: identifying text, kept apart from everything else and encrypted."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class SealedText(NamedTuple):
    """An encrypted text of one identifier. `sealed` is None where the text was taken back."""

    identifier: str
    attribute: str
    event_time_us: int
    sealed: bytes | None


class OpenedText(NamedTuple):
    """A text as its owner may read it."""

    attribute: str
    event_time_us: int
    text: str


class Holding(NamedTuple):
    """That the vault holds texts of an identifier, and when it was last given one."""

    identifier: str
    stored_us: int


def everything_of(identifier: str) -> SealedText:
    """Takes back every text of an identifier that was put before, and the times of those taken back already.

    It goes the way of a text, so that it keeps its place among them: what is put behind it stays.
    """
    return SealedText(identifier, "", 0, None)


class Sealer(Protocol):
    """Encrypts and hashes with the vault's key; no I/O."""

    @property
    def pepper(self) -> bytes:
        """The key of the hashes that match rules compare."""
        ...

    def seal(self, identifier: str, attribute: str, event_time_us: int, text: str) -> SealedText:
        """Encrypts a text, so that only this identifier's and attribute's place can hold it."""
        ...


class Vault(Protocol):
    """Keeps texts. What is put is durable when the call returns."""

    @property
    def scrubbed_us(self) -> int:
        """The time of the last `scrub`, 0 if there was none: a vault from a backup has an old one."""
        ...

    async def put(self, texts: Sequence[SealedText]) -> None:
        """Keeps texts, each unless there is one with a later event time; obeys `everything_of`.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED, as for the journal.
        """
        ...

    async def read(self, identifiers: Sequence[str]) -> dict[str, list[OpenedText]]:
        """The texts of identifiers, decrypted; identifiers without texts are left out.

        Raises:
            JournalDamagedError: a text is not what was written.
        """
        ...

    async def count(self, identifiers: Sequence[str]) -> int:
        """How many texts and times of texts there are of identifiers; opens none of them."""
        ...

    async def holdings(self, after: str, limit: int) -> list[Holding]:
        """Up to `limit` identifiers behind one, in their order, that something is held of."""
        ...

    async def scrub(self, time_us: int) -> None:
        """Leaves nothing on disk of what was taken back with `everything_of`, and notes that, with the time.

        Raises:
            OpportuneError: as `put`.
        """
        ...

    async def close(self) -> None:
        """Lets go of the files."""
        ...
