"""Who makes the call that is being answered."""

from contextvars import ContextVar

from server.domain.caller import Caller

CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Set by `Authentication` for each call; None where nobody is asked who they are."""


def calling() -> Caller | None:
    """The caller of the call that is being answered, whose tasks see it as well; None on an open server."""
    return CALLER.get()
