"""Arbitration finds the best of all the answers there are, and what it says of losers is what freeing them shows."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from server.domain.decision import Reason
from server.intelligence.arbitration import Contest, arbitrate
from server.intelligence.limits import Limit
from server.intelligence.losers import held_back
from server.intelligence.several import Share, several
from server.intelligence.tie_break import tie_breaks

Fits = Callable[[Sequence[int]], bool]
"""Whether the last of these rows may still win when those before it have won."""

# Sums of quarters are exact, in whatever order they are added.
amounts = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, math.nan])
rooms = st.sampled_from([0.0, 0.25, 1.0, 1.0, 2.0, 3.0, math.nan])
keys = st.one_of(st.integers(0, 3).map(float), st.sampled_from([-1.0, -math.inf, math.nan, 0.5]))
hashes = st.one_of(st.integers(0, 2), st.integers(0, 2**64 - 1))
seeds = st.sampled_from([0, 1, 2**40 + 1])


@composite
def limits(draw: DrawFn, rows: int) -> Limit:
    room = draw(st.lists(rooms, max_size=3))
    counted = draw(st.lists(st.integers(-1, len(room) - 1), min_size=rows, max_size=rows))
    taken = draw(st.none() | st.lists(amounts, min_size=rows, max_size=rows))
    bound = draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows))
    return Limit(
        np.array(counted, np.intp),
        np.array(room, np.float64),
        Reason.CAP,
        None if taken is None else np.array(taken, np.float64),
        None if bound is None else np.array(bound, np.bool_),
    )


@composite
def even_limits(draw: DrawFn, rows: int) -> Limit:
    """Such as groups: the same room for each, and known to be the same."""
    count, each = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    counted = draw(st.lists(st.integers(-1, count - 1), min_size=rows, max_size=rows))
    return Limit(np.array(counted, np.intp), np.full(count, float(each)), Reason.EXCLUSION_GROUP, even=each)


@composite
def contests(draw: DrawFn, pins_max: int = 3) -> Contest:
    rows = draw(st.integers(0, 7))
    values = draw(st.lists(st.tuples(keys, hashes), min_size=rows, max_size=rows))
    pin = st.tuples(st.integers(-1, 4), st.integers(0, max(rows - 1, 0)))
    return Contest(
        np.array([key for key, _ in values], np.float64),
        np.array([hash_ for _, hash_ in values], np.uint64),
        draw(st.integers(0, 4)),
        draw(seeds),
        draw(st.lists(limits(rows), max_size=3) | st.lists(even_limits(rows), max_size=3)),
        draw(st.lists(pin, max_size=pins_max if rows else 0)),
    )


@given(contests())
@settings(max_examples=400)
def test_the_winners_are_the_best_of_all_answers(contest: Contest) -> None:
    found = arbitrate(contest)

    assert found.winners.tolist() == best_of_all(contest, lambda rows: has_room(contest.limits, rows))


@given(contests())
@settings(max_examples=400)
def test_a_row_lost_by_the_first_limit_that_it_would_have_to_be_freed_from_to_win(contest: Contest) -> None:
    found = arbitrate(contest)
    losers = [row for row in range(len(contest.key)) if row not in found.winners]

    held = held_back(np.array(losers, np.intp), contest, found)

    # A pin would come before its turn once it is freed, so those that lost their slots are asked about without it.
    every = set(range(len(contest.limits)))
    for row, limit in zip(losers, held.tolist(), strict=True):
        if math.isnan(contest.key[row]) or any(row == pinned for _, pinned in contest.pins):
            continue
        if limit < 0:
            assert not wins_when_freed(contest, row, every)
        else:
            assert wins_when_freed(contest, row, set(range(limit, len(contest.limits))))
            assert not wins_when_freed(contest, row, every - {limit})


@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(60, 700))
@settings(max_examples=150)
def test_winners_are_found_however_far_below_the_best_they_are(seed: int, slots: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    contest = Contest(
        -np.sort(random.integers(0, random.choice([3, 1000]), rows)).astype(np.float64),
        random.integers(0, 2**64, rows, np.uint64),
        slots,
        seed,
        [rarely_open(random, rows) for _ in range(random.integers(1, 4))],
        [(int(slot), int(random.integers(0, rows))) for slot in random.integers(0, 12, random.integers(0, 3))],
    )

    found = arbitrate(contest)

    pinned = list(found.pinned.values())
    assert [*pinned, *found.others] == one_after_another(contest, pinned)


@composite
def shares_of(draw: DrawFn, offers: int) -> Share:
    places = draw(st.lists(st.integers(0, offers - 1), max_size=3, unique=True))
    rows = len(places)
    pin = st.tuples(st.integers(-1, 2), st.integers(0, max(rows - 1, 0)))
    return Share(
        np.array(places, np.intp),
        np.array(draw(st.lists(keys, min_size=rows, max_size=rows)), np.float64),
        np.array(places, np.uint64) + np.uint64(1),
        draw(st.integers(0, 2)),
        draw(st.lists(limits(rows), max_size=1)),
        draw(st.lists(pin, max_size=1 if rows else 0)),
    )


@given(st.data(), seeds)
@settings(max_examples=200)
def test_several_placements_share_the_offers_in_the_best_of_all_ways(data: st.DataObject, seed: int) -> None:
    shares = data.draw(st.lists(shares_of(4), min_size=1, max_size=3))
    common = data.draw(st.lists(limits(4), max_size=2))

    joint = several(shares, common, seed=seed)
    found = joint.split(arbitrate(joint.contest))

    pairs = [(place, row) for place, share in enumerate(shares) for row in range(len(share.key))]

    def fits(rows: Sequence[int]) -> bool:
        chosen = [pairs[row] for row in rows]
        place, _ = chosen[-1]
        offers = [int(shares[place].offers[row]) for place, row in chosen]
        own = [row for other, row in chosen if other == place]
        return (
            len(own) <= shares[place].slots
            and offers[-1] not in offers[:-1]
            and has_room(common, offers)
            and has_room(shares[place].limits, own)
        )

    # Slots are numbered through, and each placement's pins stand in its own.
    pins = {}
    first_slot = 0
    for place, share in enumerate(shares):
        for slot, row in share.pins:
            if 0 <= slot < share.slots:
                pins[place] = (first_slot + slot, pairs.index((place, row)))
        first_slot += share.slots
    contest = Contest(
        np.concatenate([share.key for share in shares]),
        np.concatenate([share.tie_break for share in shares]),
        first_slot,
        seed,
        pins=list(pins.values()),
    )
    pinned, others = best_sequences(contest, fits)
    first_slot = 0
    for place, share in enumerate(shares):
        own_pins = {slot - first_slot: pairs[row][1] for slot, row in pinned.items() if pairs[row][0] == place}
        own_others = [pairs[row][1] for row in others if pairs[row][0] == place]
        assert found[place].tolist() == laid_out(own_pins, own_others, share.slots)
        first_slot += share.slots


def best_of_all(contest: Contest, fits: Fits) -> list[int]:
    return laid_out(*best_sequences(contest, fits), contest.slots)


def best_sequences(contest: Contest, fits: Fits) -> tuple[dict[int, int], list[int]]:
    """The rows that pins seat, by slot, and the others in order: of all that are possible the best.

    For slot after slot, first those with pins and then the rest, it is best to have the row that ranks first; any row
    is better than none.
    """
    ranks = {row: rank for rank, row in enumerate(ranking(contest))}
    pins = {
        slot: [row for pinned, row in contest.pins if pinned == slot and row in ranks] for slot in range(contest.slots)
    }
    pins = {slot: rows for slot, rows in pins.items() if rows}

    def quality(answer: tuple[dict[int, int], list[int]]) -> list[float]:
        pinned, others = answer
        ranked = [ranks[pinned[slot]] if slot in pinned else math.inf for slot in pins]
        ranked += [ranks[row] for row in others]
        return ranked + [math.inf] * (len(pins) + contest.slots - len(ranked))

    return min(all_sequences(contest.slots, pins, list(ranks), fits), key=quality)


def all_sequences(
    slots: int, pins: dict[int, list[int]], rows: list[int], fits: Fits
) -> Iterator[tuple[dict[int, int], list[int]]]:
    for choice in product(*[[*of_slot, None] for of_slot in pins.values()]):
        pinned = {slot: row for slot, row in zip(pins, choice, strict=True) if row is not None}
        first = list(pinned.values())
        if len(set(first)) < len(first) or not all(fits(first[: end + 1]) for end in range(len(first))):
            continue
        for chosen in continued(first, slots, rows, fits):
            yield pinned, chosen[len(first) :]


def continued(chosen: list[int], slots: int, rows: list[int], fits: Fits) -> Iterator[list[int]]:
    yield chosen
    if len(chosen) < slots:
        for row in rows:
            if row not in chosen and fits([*chosen, row]):
                yield from continued([*chosen, row], slots, rows, fits)


def has_room(limits: Sequence[Limit], rows: Sequence[int]) -> bool:
    """Whether all limits have room for the last row when those before it have won."""
    *before, last = rows
    for limit in limits:
        key = limit.keys[last]
        if key < 0 or (limit.bound is not None and not limit.bound[last]):
            continue
        taken = [1.0 if limit.amounts is None else limit.amounts[row] for row in before if limit.keys[row] == key]
        amount = 1.0 if limit.amounts is None else limit.amounts[last]
        if not limit.room[key] - sum(taken) >= amount:
            return False
    return True


def ranking(contest: Contest) -> list[int]:
    """All rows that can win, in the order in which they would without limits and pins."""
    shuffled = tie_breaks(contest.tie_break, contest.seed).tolist()
    rows = [row for row in range(len(shuffled)) if not math.isnan(contest.key[row])]
    return sorted(rows, key=lambda row: (-contest.key[row], shuffled[row], row))


def laid_out(pinned: dict[int, int], others: list[int], slots: int) -> list[int]:
    """Rows by slot, with the slots that stay empty left out."""
    waiting = iter(others)
    seats = [pinned[slot] if slot in pinned else next(waiting, None) for slot in range(slots)]
    return [row for row in seats if row is not None]


def one_after_another(contest: Contest, pinned: list[int]) -> list[int]:
    """The pinned rows and who wins after them, by trying one row after another."""
    won = list(pinned)
    for row in ranking(contest):
        if len(won) < contest.slots and row not in won and has_room(contest.limits, [*won, row]):
            won.append(row)
    return won


def wins_when_freed(contest: Contest, freed: int, places: set[int]) -> bool:
    """Whether a row wins if some of the limits do not hold it back."""

    def without(limit: Limit) -> Limit:
        bound = np.ones(len(limit.keys), np.bool_) if limit.bound is None else limit.bound.copy()
        bound[freed] = False
        return limit._replace(bound=bound, even=None)

    eased = [without(limit) if place in places else limit for place, limit in enumerate(contest.limits)]
    return freed in arbitrate(contest._replace(limits=eased)).winners


def rarely_open(random: np.random.Generator, rows: int) -> Limit:
    """A limit with few keys, that run through the rows in long stretches, and little room."""
    count = int(random.integers(1, 6))
    stretches = np.sort(random.integers(-1, count, rows)) if random.random() < 0.5 else random.integers(-1, count, rows)
    return Limit(
        random.permutation(stretches.max() + 2)[stretches + 1].astype(np.intp) - 1,
        random.integers(0, 4, count + 1).astype(np.float64),
        Reason.CAP,
        random.integers(0, 4, rows) / 4 if random.random() < 0.5 else None,
        random.random(rows) < 0.9 if random.random() < 0.5 else None,
    )
