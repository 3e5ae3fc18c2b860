"""Which outcomes were reported already: hashes of their ids, kept for 30 to 60 days in two halves."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from xxhash import xxh3_128_digest

from server.input.identifiers import Identifiers
from server.input.pages import Arrays, SavedPage

HALF_US = 30 * 86_400_000_000


class OutcomeIds:
    """The ids of outcomes, as 128-bit hashes: at a billion outcomes two are alike with a chance of 1e-21."""

    def __init__(self) -> None:
        self._halves = [Identifiers("outcome_ids.0"), Identifiers("outcome_ids.1")]
        self.period = 0

    def add(self, outcome_id: str, time_us: int) -> bool:
        """Notes an id at the time of its report; False if it was there."""
        self._turn(time_us // HALF_US)
        name = xxh3_128_digest(outcome_id.encode())
        if any(half.find(name) >= 0 for half in self._halves):
            return False
        self._halves[self.period & 1].add(name)
        return True

    def capture(self) -> Iterator[SavedPage]:
        """See `Pages.capture`."""
        captures = [half.capture() for half in self._halves]
        return (page for pages in captures for page in pages)

    @property
    def ends(self) -> tuple[int, int]:
        """How many ids each half has."""
        return self._halves[0].end, self._halves[1].end

    def restore(self, pages: Mapping[str, Iterable[Arrays]], period: int, ends: Sequence[int]) -> None:
        """Fills empty halves with captured pages, by name."""
        self.period = period
        for number, end in enumerate(ends):
            self._halves[number].restore(pages.get(f"outcome_ids.{number}", ()), end, ())

    def _turn(self, period: int) -> None:
        """Begins the half of a period, and forgets what was in it; time never goes back."""
        if period <= self.period:
            return
        if period > self.period + 1:
            self._halves[1 - (period & 1)] = Identifiers(f"outcome_ids.{1 - (period & 1)}")
        self._halves[period & 1] = Identifiers(f"outcome_ids.{period & 1}")
        self.period = period
