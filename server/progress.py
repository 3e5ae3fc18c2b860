"""Progress of long work, for the person who waits: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import TextIO

WIDTH = 24
BAR_EVERY_S = 0.2
LINE_EVERY_S = 10.0


class Progress:
    """How far work over a known number of things is, with its rate and how long it will still take."""

    def __init__(self, total: int, things: str, stream: TextIO, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`things` is what is counted, in the plural."""
        self._total = total
        self._things = things
        self._stream = stream
        self._clock_s = clock_s
        self._is_terminal = stream.isatty()
        self._started_s = clock_s()
        self._told_s = self._started_s
        self._done = self._told = 0
        self._length = 0

    def advance(self, count: int) -> None:
        """So many more are done. Tells, unless it has told a moment ago."""
        self._done += count
        now_s = self._clock_s()
        if now_s - self._told_s >= (BAR_EVERY_S if self._is_terminal else LINE_EVERY_S):
            self._told_s = now_s
            self._tell(now_s)

    def end(self) -> None:
        """Tells a last time, and leaves the line of the bar."""
        if self._is_terminal or self._told < self._done or not self._done:
            self._tell(self._clock_s())
        if self._is_terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _tell(self, now_s: float) -> None:
        self._told = self._done
        text = self._text(now_s - self._started_s)
        if self._is_terminal:
            # Blanks wipe out what is left of a longer text.
            text, self._length = f"\r{text:{self._length}}", len(text)
        else:
            text += "\n"
        self._stream.write(text)
        self._stream.flush()

    def _text(self, spent_s: float) -> str:
        share = self._done / self._total if self._total else 1.0
        rate = self._done / spent_s if spent_s > 0 else 0.0
        text = f"{self._done:,} of {self._total:,} {self._things}, {rate:,.0f}/s, {_duration(spent_s)}"
        if 0 < self._done < self._total:
            text += f", {_duration((self._total - self._done) / rate)} left" if rate else ""
        if not self._is_terminal:
            return text
        filled = round(WIDTH * min(share, 1.0))
        return f"[{'#' * filled}{'.' * (WIDTH - filled)}] {share:4.0%}  {text}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
