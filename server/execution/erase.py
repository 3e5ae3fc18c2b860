"""EraseProfile: takes a customer away, from everywhere and for good."""

from typing import Protocol

from server.domain.erasure import ErasureLedger, ErasureReceipt
from server.domain.journal import Journal
from server.domain.vault import Vault
from server.execution.state import Clock, State
from server.execution.writer import Writer


class Snapshots(Protocol):
    """The saved states of a server, as an erasure needs them."""

    async def renew(self) -> int:
        """Saves the facts of now and removes every older snapshot; how many were removed. Durable when it returns."""
        ...


class EraseProfile:
    """Erases a customer with all identifiers."""

    def __init__(
        self,
        state: State,
        writer: Writer,
        journal: Journal,
        vault: Vault | None,
        ledger: ErasureLedger,
        snapshots: Snapshots,
        clock: Clock,
    ) -> None:
        self._state = state

    async def __call__(self, customer_id: str) -> ErasureReceipt:
        """Erases the customer of an identifier; when it returns, nothing is left."""
        raise NotImplementedError
