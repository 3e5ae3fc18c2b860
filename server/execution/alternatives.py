"""Would have won if …: for each candidate that lost, the smallest single change with which it would have been shown.

Each change is tried: everything that follows it runs once more, and a change is only told of if the offer is shown
then. What takes several changes is not told. A change is to what was decided on, not to the customer's life: "if the
customer had agreed" means with everything else as it was known.
"""

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from server.domain.attribute import BoolRow, IntRow
from server.domain.decision import Reason, Rung
from server.execution.blockers import Blocker, BlockerKind, Blockers, Change
from server.execution.evaluation import Evaluation
from server.execution.one_change import if_not_blocked, if_worth_more
from server.execution.rerun import FREE, NO_RIVAL, Field, Outcome, rivals, run
from server.intelligence.losers import held_back

Turns = Generator[None, None, None]
"""Pauses now and then, so that others may have their turn; whoever drives it may wait between."""

_SCORED_AT_ONCE = 256
_TOLD_AT_ONCE = 64
_LIMITS = (Reason.EXCLUSION_GROUP, Reason.DIVERSITY, Reason.CAP, Reason.BUDGET)


class _Lost(NamedTuple):
    """A candidate that lost: its placement's place, its row in the contest, its offer, and the limit it lost by."""

    field: int
    row: int
    offer: int
    limit: int


class Alternatives:
    """The changes for one decision; `words` has them by offer id, as far as they were found."""

    def __init__(self, evaluations: Sequence[Evaluation]) -> None:
        """`evaluations` are those of a rebuilt decision whose placements were ranked, at least one."""
        self.words: dict[str, str] = {}
        self._evaluations = evaluations
        self._offers = evaluations[0].catalog.offers.offers
        self._together = bool(evaluations[0].query.further_placement_ids)
        self._blockers = [Blockers(evaluation) for evaluation in evaluations]
        self._fields = [Field(evaluation) for evaluation in evaluations]
        self._outcome = self._run()
        self._shown = self._outcome.shown(len(self._offers))

    def find(self) -> Turns:
        """Finds all changes."""
        for blockers in self._blockers:
            yield from blockers.fill()
        yield from self._score()
        # Scores of more offers change no key of a candidate, and not who won.
        self._rivals = rivals(self._outcome)
        yield from self._excluded()
        yield from self._unranked()
        yield from self._lost()

    def _run(self, allowed: Sequence[BoolRow] | None = None, fields: Sequence[Field] | None = None) -> Outcome:
        fields = self._fields if fields is None else fields
        return run(fields, [field.allowed for field in fields] if allowed is None else allowed, self._together)

    def _shows(self, allowed: Sequence[BoolRow] | None = None, fields: Sequence[Field] | None = None) -> BoolRow:
        return self._run(allowed, fields).shown(len(self._offers))

    def _tell(self, offer: int, words: str) -> None:
        if not self._shown[offer]:
            self.words.setdefault(self._offers[offer].id, words)

    def _is_told(self, offer: int) -> bool:
        return bool(self._shown[offer]) or self._offers[offer].id in self.words

    def _score(self) -> Turns:
        """Has models score whatever one change may have ranked."""
        for field, blockers in zip(self._fields, self._blockers, strict=True):
            offers = {offer for _, needing in blockers.single() for offer in needing}
            if field.evaluation.rung is Rung.REDUCED:
                # If others drop out, those come in that there was no time to score.
                offers |= set(field.evaluation.allowed.tolist())
            yield from _scored(field, np.array(sorted(offers), np.intp))

    # What was no candidate

    def _excluded(self) -> Turns:
        """Takes away one blocker at a time."""
        tried: set[Change] = set()
        for place, blockers in enumerate(self._blockers):
            for change, needing in blockers.single():
                if change in tried or not self._is_worth_trying(place, change, needing):
                    continue
                tried.add(change)
                shown = self._shows(*self._with(change))
                for number, each in enumerate(self._blockers):
                    for offer in each.freed_by(change):
                        if shown[offer]:
                            self._tell(offer, self._if_not_blocked(number, change, offer))
                yield

    def _with(self, change: Change) -> tuple[list[BoolRow], list[Field]]:
        """The candidates of each placement with a change, and the placements without a limit that it takes away."""
        allowed, fields = [], []
        for field, blockers in zip(self._fields, self._blockers, strict=True):
            mask = field.allowed.copy()
            mask[blockers.freed_by(change)] = True
            allowed.append(mask)
            for blocker in change:
                if blocker.kind is BlockerKind.LIMIT:
                    field = field.without_limit(int(blocker.what))  # noqa: PLW2901
            fields.append(field)
        return allowed, fields

    def _is_worth_trying(self, place: int, change: Change, needing: Sequence[int]) -> bool:
        """Whether it is not plain already; without it, most of a large catalog would be tried in vain."""
        field = self._fields[place]
        if np.isnan(field.key.take(needing)).all():
            return False
        is_limit = any(blocker.kind is BlockerKind.LIMIT for blocker in change)
        if self._together or is_limit or field.evaluation.rung in (Rung.REDUCED, Rung.DEFAULT):
            return True
        offer, *more = self._blockers[place].freed_by(change)
        if more or offer in [row for _, row in self._outcome.contest.pins]:
            return True
        # One more candidate wins if it stands ahead of its rival.
        rival = self._rivals[offer]
        return bool(rival == FREE or (rival != NO_RIVAL and field.key[offer] >= self._outcome.contest.key[rival]))

    def _if_not_blocked(self, place: int, change: Change, offer: int) -> str:
        blocker = min(change, key=lambda each: str(each.what))
        return if_not_blocked(self._evaluations[place], blocker, offer)

    # What was not ranked

    def _unranked(self) -> Turns:
        """Ranks every candidate, where there was no time to."""
        fields = [field.full() or field for field in self._fields]
        if all(field is before for field, before in zip(fields, self._fields, strict=True)):
            return
        for field in fields:
            yield from _scored(field, field.evaluation.allowed)
        shown = self._shows(fields=fields)
        for evaluation in self._evaluations:
            ranked = set(evaluation.eligible.tolist())
            for offer in evaluation.allowed.tolist():
                if offer not in ranked and shown[offer]:
                    self._tell(offer, "if there had been time to rank every candidate by the model")
        yield

    # What was ranked, and lost

    def _lost(self) -> Turns:
        """Limits first, which no value may help against; then what value would have been enough."""
        lost = list(self._losers())
        limited = [each for each in lost if each.limit >= 0]
        if limited:
            yield from self._lift_limits(limited)
            yield from self._take_out_winners({each.offer for each in limited})
        for number, each in enumerate(lost):
            words = self._if_worth_more(each)
            if words:
                self._tell(each.offer, words)
            if not number % _TOLD_AT_ONCE:
                yield
        # A pin may have the slot, or there was no time to look at so many.
        candidates = {offer for evaluation in self._evaluations for offer in evaluation.allowed.tolist()}
        rest = {offer for offer in candidates if not self._is_told(offer)}
        if rest:
            yield from self._take_out_winners(rest)

    def _losers(self) -> Iterator[_Lost]:
        count = len(self._offers)
        contest, arbitration = self._outcome.contest, self._outcome.arbitration
        limits = held_back(np.arange(len(contest.key)), contest, arbitration) if contest.limits else None
        for place, evaluation in enumerate(self._evaluations):
            for offer in evaluation.eligible.tolist():
                row = place * count + offer
                limit = -1 if limits is None else int(limits[row])
                if limit >= 0 and contest.limits[limit].reason not in _LIMITS:
                    limit = -1
                if not self._shown[offer]:
                    yield _Lost(place, row, offer, limit)

    def _lift_limits(self, limited: Sequence[_Lost]) -> Turns:
        """Tries the decision without each cap and budget that it has used up."""
        codes: dict[int, str] = {}
        for field in self._fields:
            rules = field.evaluation.snapshot.rules.channel(field.evaluation.channel)
            found = [room.family for room in field.wide.rooms]
            found += [rules.first_meter + short.number for short in field.wide.short]
            codes |= {code: rules.words(code) for code in found}
        for code, words in codes.items():
            change = frozenset([Blocker(BlockerKind.LIMIT, code)])
            shown = self._shows(*self._with(change))
            for each in limited:
                if shown[each.offer] and self._outcome.contest.limits[each.limit].reason in (Reason.CAP, Reason.BUDGET):
                    self._tell(each.offer, f"if the {words} had room")
            yield

    def _take_out_winners(self, losers: Collection[int]) -> Turns:
        """Tries the decision without each of the offers that were shown."""
        for winner in dict.fromkeys((self._outcome.arbitration.winners % len(self._offers)).tolist()):
            allowed = [field.allowed.copy() for field in self._fields]
            for mask in allowed:
                mask[winner] = False
            shown = self._shows(allowed)
            for offer in losers:
                if shown[offer]:
                    self._tell(offer, f"if {self._offers[winner].id} had not been shown")
            yield

    def _if_worth_more(self, lost: _Lost) -> str:
        """What a candidate would have to be worth, empty if no worth would have been enough."""
        rival = int(self._rivals[lost.row])
        evaluation = self._evaluations[lost.field]
        if rival < 0:
            return ""
        rival_id = self._offers[rival % len(self._offers)].id
        if evaluation.rung is Rung.DEFAULT:
            return f"if it stood ahead of {rival_id} among the placement's fallback offers"
        if evaluation.query.order_by:
            return f"if it stood ahead of {rival_id} in the order that was asked for"
        return if_worth_more(self._fields[lost.field], lost.offer, float(self._outcome.contest.key[rival]))


def _scored(field: Field, offers: IntRow) -> Turns:
    """Has a model score offers, some at a time."""
    for start in range(0, len(offers), _SCORED_AT_ONCE):
        field.score(offers[start : start + _SCORED_AT_ONCE])
        yield
