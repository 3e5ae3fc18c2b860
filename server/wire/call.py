"""What comes with a call beside its request, and what every call has to pass: the seams of what is the same for all."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Metadata = Sequence[tuple[str, str | bytes]]
"""Keys are lower case; values of keys that end in `-bin` are bytes."""


class Call(NamedTuple):
    """A call, as it came.

    Attributes:
        metadata: What the caller has sent along, in its order.
        peer: The caller's address as the transport tells it, `ipv4:127.0.0.1:40312`.
        time_left_s: Seconds until the caller's deadline; None without one.
        waited_s: Seconds that the call has waited in the transport's queue; None if the transport does not know.
        names: Those of the caller's certificate, if the transport has verified one.
    """

    metadata: Metadata = ()
    peer: str = ""
    time_left_s: float | None = None
    waited_s: float | None = None
    names: tuple[str, ...] = ()

    def value(self, key: str) -> str:
        """The first text that was sent under a key, empty if there is none."""
        for name, value in self.metadata:
            if name == key and type(value) is str:
                return value
        return ""


class Guard(Protocol):
    """Lets calls pass, or does not. Guards are asked in their order, before the request is read."""

    def __call__(self, path: str, call: Call) -> None:
        """Returns for a call that may go on to the method at `path`.

        Raises:
            OpportuneError: the call is refused with this.
        """
        ...


class Observer(Protocol):
    """Sees how calls end."""

    def __call__(self, path: str, call: Call, code: int, started_ns: int) -> None:
        """A call has ended with a status code; it came at `started_ns` of `time.perf_counter_ns`."""
        ...
