"""How many deltas of a source may be refused within a minute before its stream is stopped."""

from datetime import datetime, timedelta

from server.domain.errors import ErrorReason, OpportuneError

_WINDOW = timedelta(minutes=1)


class RejectionLimit:
    """Counts the refused deltas of each source by minutes that begin with the first of them."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._windows: dict[str, tuple[datetime, int]] = {}
        self.stopped = 0
        """How many requests were refused, as their source had had too many."""

    def count(self, source: str, rejected: int, now: datetime) -> None:
        """Notes refused deltas."""
        if rejected:
            start, counted = self._window(source, now)
            self._windows[source] = (start, counted + rejected)

    def check(self, source: str, now: datetime) -> None:
        """Refuses a source that has had too many.

        Raises:
            OpportuneError: TOO_MANY_REJECTED with the time until the minute is over.
        """
        if source not in self._windows:
            return
        start, counted = self._window(source, now)
        if counted <= self._per_minute:
            return
        self.stopped += 1
        message = f"{counted:,} deltas of the source were refused within a minute; {self._per_minute:,} are allowed"
        metadata = {"rejected_per_minute": str(self._per_minute)}
        wait_ms = int((start + _WINDOW - now) / timedelta(milliseconds=1)) + 1
        raise OpportuneError(ErrorReason.TOO_MANY_REJECTED, message, metadata, retry_after_ms=wait_ms)

    def _window(self, source: str, now: datetime) -> tuple[datetime, int]:
        start, counted = self._windows.get(source, (now, 0))
        return (start, counted) if now - start < _WINDOW else (now, 0)
