"""Snapshots: all facts as of one offset, saved while they go on changing, and made again from what was saved."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.domain.journal import CatalogPublished
from server.execution.facts import Facts
from server.input.contact_book import NO_CONTACTS, BookHeader
from server.input.pages import Arrays, SavedPage


class FactsHeader(NamedTuple):
    """Everything of the facts that is not in pages.

    Attributes:
        time_us: When it was captured, in microseconds since 1970.
        end, free: The numbers of rows that were given, and those of them to give again.
        key_end, key_free: The same of match keys.
        apart: Pairs of rows that no rule may join.
    """

    offset: int
    time_us: int
    sources: dict[str, int]
    catalog: CatalogPublished | None
    end: int
    free: tuple[int, ...]
    key_end: int
    key_free: tuple[int, ...]
    apart: tuple[tuple[int, int], ...]
    contacts: BookHeader = NO_CONTACTS


class Capture(NamedTuple):
    """The facts as of one offset: the header at once, the pages while they are asked for."""

    header: FactsHeader
    pages: Iterator[SavedPage]


def capture(facts: Facts, time_us: int) -> Capture:
    """Begins to save the facts as they are now; see `Pages.capture`. A second capture ends the first."""
    profiles = facts.profiles
    header = FactsHeader(
        offset=facts.offset,
        time_us=time_us,
        sources=dict(facts.sources),
        catalog=facts.catalog,
        end=profiles.identifiers.end,
        free=profiles.identifiers.free,
        key_end=facts.matches.keys.end,
        key_free=facts.matches.keys.free,
        apart=tuple(profiles.graph.apart),
        contacts=facts.contacts.header(),
    )
    captures = [profiles.capture(), facts.matches.capture(), facts.contacts.capture()]
    return Capture(header, (page for pages in captures for page in pages))


def restore(header: FactsHeader, pages: Iterable[SavedPage]) -> Facts:
    """The facts that were saved. The pages may come in any order; their arrays become the facts' own."""
    by_name: dict[str, dict[int, Arrays]] = defaultdict(dict)
    for page in pages:
        by_name[page.name][page.number] = page.arrays
    ordered = {name: [numbered[number] for number in range(len(numbered))] for name, numbered in by_name.items()}
    facts = Facts(None if header.catalog is None else header.catalog.schema)
    facts.offset, facts.sources, facts.catalog = header.offset, dict(header.sources), header.catalog
    facts.profiles.restore(ordered, header.end, header.free, header.apart)
    facts.matches.restore(ordered, header.key_end, header.key_free)
    facts.contacts.restore(header.contacts, ordered)
    if header.catalog is not None:
        facts.contacts.policy = header.catalog.contacts
    return facts
