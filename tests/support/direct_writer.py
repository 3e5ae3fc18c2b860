"""A writer without a journal and without waiting: an entry is applied within the call that writes it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from server.domain.journal import Entry, Record
from server.domain.vault import SealedText
from server.execution.state import State
from server.execution.writer import Writer, Written, _Waiting
from server.storage.memory_journal import MemoryJournal

_Result = TypeVar("_Result")


class DirectWriter(Writer):
    """Applies entries at once, and keeps what was sealed."""

    def __init__(self, state: State) -> None:
        super().__init__(MemoryJournal(), state, None)
        self.entries: list[Entry] = []
        self.sealed: list[SealedText] = []
        self._state = state

    def write(
        self,
        entry: Entry,
        compiled: object = None,
        sealed: Sequence[SealedText] = (),
        weight: int = 1,
    ) -> "asyncio.Future[Written]":
        """Applies an entry; the future is done."""
        self.ahead()
        offset = self._state.facts.offset + 1
        self.entries.append(entry)
        self.sealed += sealed
        future: asyncio.Future[Written] = asyncio.Future(loop=_NoLoop())  # type: ignore[abstract]
        written = Written(offset, *self._state.apply(Record(offset, entry), compiled))
        if written.refused:
            self._record(_Waiting(entry, weight, compiled, sealed, future), written)
        else:
            future.set_result(written)
        return future


def at_once(call: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of a coroutine that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        result: _Result = end.value
        return result
    raise AssertionError("the call waits for something")


class _NoLoop(asyncio.AbstractEventLoop):
    """Enough of an event loop for futures that are done: callbacks run where they are added."""

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:  # type: ignore[override]
        callback(*args)
