"""GetDecision over the use cases of `Service`, with catalogs compiled in this process."""

from collections.abc import Mapping

from server.domain.decision import Decision, Exclusion
from server.domain.model import Manifest
from server.execution.compile import Compilation, compile_text
from server.execution.past_catalogs import PastCatalogs
from server.execution.recorded import GetDecision
from server.storage.memory_journal import MemoryJournal
from server.stores import NoSnapshots
from tests.support.service import Service


async def compile_here(text: str, manifests: Mapping[str, Manifest]) -> Compilation:
    """Compiles a catalog's text."""
    return compile_text(text, manifests)


async def journal_of(service: Service) -> MemoryJournal:
    """What a service has written, as a journal."""
    journal = MemoryJournal()
    await journal.append(service.writer.entries)
    return journal


async def get(service: Service, decision_id: str) -> Decision:
    """What GetDecision answers."""
    catalogs = PastCatalogs(service.state, await journal_of(service), NoSnapshots(), compile_here)
    return await GetDecision(service.log, catalogs)(decision_id)


async def excluded(service: Service, decision: Decision) -> dict[str, Exclusion]:
    """The exclusions that GetDecision tells of, by offer id."""
    explanation = (await get(service, decision.decision_id)).explanation
    assert explanation is not None
    return {exclusion.offer_id: exclusion for exclusion in explanation.exclusions}


async def changes(service: Service, decision: Decision) -> dict[str, str]:
    """The change that each loser lacked, as far as GetDecision knows one."""
    found = await excluded(service, decision)
    return {offer_id: each.would_have_won_if for offer_id, each in found.items() if each.would_have_won_if}
