"""Who makes the call that is being answered."""

from collections.abc import Callable
from contextvars import ContextVar

from server.domain.caller import Caller, Role

CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)
"""Set by `Authentication` for each call; None where nobody is asked who they are."""

Watch = Callable[[Callable[[], object]], Callable[[], object]]
"""Has something called once who calls may not do so any more; what it returns ends that."""

WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)
"""Set by `Authentication` for each call that may stay open for long."""


def calling() -> Caller | None:
    """The caller of the call that is being answered, whose tasks see it as well; None on an open server."""
    return CALLER.get()


def may_read_profiles() -> bool:
    """Whether the caller may be told what is known of a customer."""
    caller = CALLER.get()
    return caller is None or caller.may(Role.PRIVACY)
