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

    async def put(self, texts: Sequence[SealedText]) -> None:
        """Keeps texts, each unless there is one with a later event time.

        Raises:
            OpportuneError: JOURNAL_FULL or JOURNAL_FAILED, as for the journal.
        """
        ...

    async def read(self, identifiers: Sequence[str]) -> dict[str, list[OpenedText]]:
        """The texts of identifiers, decrypted; identifiers without texts are left out."""
        ...

    async def erase(self, identifiers: Sequence[str]) -> int:
        """Forgets the texts of identifiers, how many; nothing of them is left on disk when it returns."""
        ...

    async def close(self) -> None:
        """Lets go of the files."""
        ...
