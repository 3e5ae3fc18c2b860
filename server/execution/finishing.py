"""What is carried out to its end even if its caller leaves."""

import asyncio
from typing import Any, TypeVar

_T = TypeVar("_T")


class CallerLeftError(asyncio.CancelledError):
    """The call is cancelled, and what it has begun goes on: `task` knows how that ends."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        super().__init__()
        self.task = task


async def finish(task: "asyncio.Task[_T]") -> _T:
    """The result of a task, which goes on if whoever waits for it here is cancelled. The caller keeps hold of it.

    Raises:
        CallerLeftError: whoever waits was cancelled.
        CancelledError: the task itself was.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise
        raise CallerLeftError(task) from None
