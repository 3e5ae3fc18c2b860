"""The call that is being answered: what log lines and spans that come of it have in common.

It is a context variable, so whatever task works for a call finds it, however deep, without being handed it.
"""

import re
from contextvars import ContextVar
from typing import Protocol
from uuid import uuid4

from server.domain.decision import Decision
from server.telemetry.trace import Trace
from server.telemetry.traceparent import Traceparent, parse

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Metadata(Protocol):
    """A call, as far as it is read here."""

    def value(self, key: str) -> str:
        """The first text that was sent under a key, empty if there is none."""
        ...


class CallContext:
    """What is known of a call while it lasts.

    Attributes:
        call: The call itself.
        trace: What is noted for its spans; None if it is not sampled.
        reason: Why it was refused, empty if it was not.
        decision: The last decision that was made for it.
    """

    __slots__ = ("_request_id", "call", "decision", "reason", "trace")

    def __init__(self, call: Metadata, trace: Trace | None = None) -> None:
        self.call = call
        self.trace = trace
        self.reason = ""
        self.decision: Decision | None = None
        self._request_id = ""

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, else the id of its trace, else one that is made when first asked for.

        Only letters, digits, `-` and `_` pass: what looks otherwise may be anything.
        """
        if not self._request_id:
            given = self.call.value("x-request-id")
            if _REQUEST_ID.fullmatch(given):
                self._request_id = given
            else:
                parent = self.parent
                self._request_id = uuid4().hex if parent is None else f"{parent.trace_id:032x}"
        return self._request_id

    @property
    def parent(self) -> Traceparent | None:
        """The span of the caller."""
        return parse(self.call.value("traceparent"))


CURRENT: ContextVar[CallContext | None] = ContextVar("call", default=None)


def note_reason(reason: str) -> None:
    """Notes why the call of now is refused."""
    context = CURRENT.get()
    if context is not None:
        context.reason = reason
