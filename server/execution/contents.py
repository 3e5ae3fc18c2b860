"""Completes content with identifying texts: the one part of an answer that is not in memory.

A decision is made without them, and nothing that is recorded of it has them. Only when a creative that is shown asks
for one, and the caller for content, are the customer's texts read from the vault.
"""

from collections.abc import Iterable, Mapping

from server.domain.content import FilledContent
from server.domain.decision import Decision
from server.domain.vault import OpenedText, Vault
from server.execution.state import State


class CompleteContent:
    """Fills what waits for texts of the vault; without a vault, with the defaults."""

    def __init__(self, state: State, vault: Vault | None) -> None:
        self._state = state
        self._vault = vault

    def is_needed(self, decision: Decision) -> bool:
        """Whether anything in a decision's content waits for a text."""
        contents = decision.ranking.contents
        return bool(contents) and any(content.waiting for content in contents)

    async def __call__(self, decision: Decision) -> Decision:
        """The decision with its content complete.

        Raises:
            JournalDamagedError: a text is not what was written.
        """
        texts = await self._texts(decision.customer_id)
        contents = [FilledContent(content.with_texts(texts)) for content in decision.ranking.contents]
        return decision._replace(ranking=decision.ranking._replace(contents=contents))

    async def _texts(self, customer_id: str) -> Mapping[str, str]:
        """The customer's texts that may be read, by attribute: of several identifiers' the latest."""
        profiles = self._state.profiles
        row = profiles.find(customer_id)
        if self._vault is None or row < 0:
            return {}
        granted = profiles.read_row(profiles.graph.customer(row)).granted
        readable = {
            attribute.id
            for attribute in profiles.schema.attributes
            if attribute.id in profiles.schema.texts
            and (attribute.purpose is None or granted >> profiles.schema.purposes.index(attribute.purpose) & 1)
        }
        identifiers = [profiles.name(member) for member in profiles.members(row)]
        opened = await self._vault.read(identifiers)
        return _latest(text for texts in opened.values() for text in texts if text.attribute in readable)


def _latest(texts: Iterable[OpenedText]) -> Mapping[str, str]:
    ordered = sorted(texts, key=lambda text: (text.event_time_us, text.text))
    return {text.attribute: text.text for text in ordered}
