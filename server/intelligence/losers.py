"""Why the losers of an arbitration lost: worked out afterwards, for those who ask."""

import numpy as np

from server.domain.attribute import IntRow
from server.intelligence.arbitration import Arbitration, Contest
from server.intelligence.limits import Ledger
from server.intelligence.tie_break import tie_breaks


def held_back(rows: IntRow, contest: Contest, arbitration: Arbitration) -> IntRow:
    """The limits that rows lost by, as places in `contest.limits`; -1 for rows that lost by their keys: int [rows].

    A row lost by a limit if that had no room for it when a row that ranks lower won by its key, or when a slot stayed
    empty; of several such limits it is the first. All other rows lost by their keys, even if a limit would have held
    them back as well, and so did rows whose key is NaN. Winners have -1.

    Cost: some 10 us, and 1 us for each loser that ranks above the last winner. `np.append(reasons, Reason.LOST)` can be
    indexed by the answer.

    Args:
        rows: int [rows], of any that were in the contest.
        arbitration: What `arbitrate` made of the contest.
    """
    winners, others = arbitration.winners, arbitration.others
    lowest = contest.key[others[-1]] if others else np.inf
    higher = rows[contest.key.take(rows) >= lowest]
    higher = higher[~np.isin(higher, winners)]
    filled = len(winners) == contest.slots
    ledger, held_above = _replay(higher, contest, arbitration, filled)
    if filled:
        held = np.full(len(contest.key), -1, np.intp)
    else:
        held = ledger.first_full(len(contest.key))
        held[winners] = -1
        held[np.isnan(contest.key)] = -1
    held[higher] = held_above
    return held.take(rows)


def _replay(higher: IntRow, contest: Contest, arbitration: Arbitration, filled: bool) -> tuple[Ledger, list[int]]:
    """Lets the winners win again, and asks for each of the losers among them when its turn comes."""
    pinned, others = list(arbitration.pinned.values()), arbitration.others
    rows = np.concatenate((np.array(pinned + others, np.intp), higher))
    ledger = Ledger(contest.limits)
    ledger.look_at(rows)
    for place in range(len(pinned)):
        ledger.admit(place)
    held = [-1] * len(higher)
    won = 0
    by_key = rows[len(pinned) :]
    shuffled = tie_breaks(contest.tie_break.take(by_key), contest.seed)
    for place in np.lexsort((by_key, shuffled, -contest.key.take(by_key))).tolist():
        if place < len(others):
            ledger.admit(len(pinned) + place)
            won += 1
        elif won < len(others) or not filled:
            held[place - len(others)] = ledger.full(len(pinned) + place)
    return ledger, held
