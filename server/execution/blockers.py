"""What stands between each offer and the candidates of a placement: everything that excludes it, not just the first."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from server.domain.attribute import BoolRow, IntRow
from server.execution.candidates import holders
from server.execution.evaluation import Evaluation

_AT_ONCE = 256


class BlockerKind(Enum):
    """What kind of thing excludes offers."""

    CREATIVE = auto()
    SCHEDULE = auto()
    FILTER = auto()
    QUIET = auto()
    CONSENT = auto()
    CLAUSE = auto()
    LIMIT = auto()


class Blocker(NamedTuple):
    """One thing that excludes offers.

    Attributes:
        what: Of a consent its purpose; the place of a clause, of a cap or budget; of a creative or schedule the place
            of the offer that it is about.
    """

    kind: BlockerKind
    what: str | int = ""


Change = frozenset[Blocker]
"""Blockers that one change takes away: one of them, or all clauses of one part of a condition."""


class Blockers:
    """The blockers of every offer at one placement; empty until it is filled."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._offers_of: dict[Change, list[int]] = {}
        self._changes_with: defaultdict[Blocker, list[Change]] = defaultdict(list)

    def fill(self) -> Generator[None, None, None]:
        """Finds them, and pauses some hundred times, so that others may have their turn."""
        of: defaultdict[int, list[Blocker]] = defaultdict(list)
        for blocker, offers in self._all():
            for offer in offers.tolist():
                of[offer].append(blocker)
            yield
        requested = self._evaluation.requested
        for number, (offer, blockers) in enumerate(of.items()):
            if not number % _AT_ONCE:
                yield
            if self._is_single(blockers) and (requested is None or requested[offer]):
                self._offers_of.setdefault(frozenset(blockers), []).append(offer)
        for change in self._offers_of:
            for blocker in change:
                self._changes_with[blocker].append(change)

    def single(self) -> Iterable[tuple[Change, list[int]]]:
        """The changes that would each make some offers candidates, with the offers that need all of it."""
        return self._offers_of.items()

    def freed_by(self, change: Change) -> list[int]:
        """All offers that would be candidates with a change."""
        smaller = {each for blocker in change for each in self._changes_with.get(blocker, ()) if each <= change}
        return [offer for each in smaller for offer in self._offers_of[each]]

    def _is_single(self, blockers: list[Blocker]) -> bool:
        """Whether one change takes them all away."""
        if len(blockers) == 1:
            return True
        if any(blocker.kind is not BlockerKind.CLAUSE for blocker in blockers):
            return False
        texts = self._evaluation.catalog.eligibility.texts
        return len({texts[int(blocker.what)] for blocker in blockers}) == 1

    def _all(self) -> Iterator[tuple[Blocker, IntRow]]:
        evaluation = self._evaluation
        offers = evaluation.catalog.offers
        yield from _each(BlockerKind.CREATIVE, ~evaluation.creatives.available)
        yield from _each(BlockerKind.SCHEDULE, ~offers.scheduled(evaluation.now_days))
        if evaluation.query.filter:
            yield Blocker(BlockerKind.FILTER), (~evaluation.catalog.filter.mask(evaluation.query.filter)).nonzero()[0]
        if evaluation.quiet:
            yield Blocker(BlockerKind.QUIET), np.arange(len(offers))
        yield from self._consents()
        eligibility = evaluation.catalog.eligibility
        for clause in (~evaluation.truth).nonzero()[0].tolist():
            yield Blocker(BlockerKind.CLAUSE, clause), eligibility.offers_of(clause)
        rules = evaluation.snapshot.rules.channel(evaluation.channel)
        held: dict[int, set[int]] = {}
        for places, codes in holders(evaluation, rules):
            for place, code in zip(places.tolist(), codes.tolist(), strict=True):
                held.setdefault(code, set()).add(place)
        for code, members in held.items():
            yield Blocker(BlockerKind.LIMIT, code), np.array(sorted(members))

    def _consents(self) -> Iterator[tuple[Blocker, IntRow]]:
        evaluation = self._evaluation
        purposes, table = evaluation.catalog.customer.purposes, evaluation.catalog.offers
        of_channel = evaluation.catalog.policy.channels[evaluation.channel].purpose
        for bit, purpose in enumerate(purposes):
            if evaluation.granted >> bit & 1:
                continue
            if bit == of_channel:
                yield Blocker(BlockerKind.CONSENT, purpose), np.arange(len(table))
            else:
                flags = np.array([offer.purpose == purpose for offer in table.offers], np.bool_)
                yield Blocker(BlockerKind.CONSENT, purpose), flags.nonzero()[0]


def _each(kind: BlockerKind, blocked: BoolRow) -> Iterator[tuple[Blocker, IntRow]]:
    for offer in blocked.nonzero()[0].tolist():
        yield Blocker(kind, offer), np.array([offer])
