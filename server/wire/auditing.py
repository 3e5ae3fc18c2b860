"""Which calls are audited, and how: a table by method, and handlers around those of the servicers.

What must not go unnoticed is written before it begins and before its end is answered: catalogs, exports, erasures.
Everything else is noted behind the answer, as ingestion goes on when the audit log cannot be written.

What goes on after its caller has left is noted with its real end when that comes; what the server's own end cuts short
has begun and not ended. Of anything else that was cancelled nothing tells how far it came: it is UNANSWERED.
"""

from asyncio import CancelledError, Task
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from cachetools import LRUCache
from google.protobuf.message import Message

from server.domain.audit import AuditEntry, AuditLog, Phase
from server.domain.errors import OpportuneError
from server.domain.identifier import is_identifier
from server.execution.finishing import CallerLeftError
from server.wire.caller import calling
from server.wire.endpoint import Endpoint, Stream, StreamEndpoint

_REMEMBERED_SOURCES = 10_000
_PREFIX = "/opportune.v1."


class Told(NamedTuple):
    """What a request or a response says about an act."""

    counts: Mapping[str, int] = {}
    details: Mapping[str, str] = {}
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """How the calls of a method are audited.

    Attributes:
        asked: What a request says; None: this one changes nothing.
        answered: What a response says beside that.
        is_strict: Whether nothing is done that could not be written before.
        once: Whether only the first call of a caller for the same source, and with the same end, is noted.
    """

    asked: Callable[[Any], Told | None]
    answered: Callable[[Any], Told] = lambda _: Told()
    is_strict: bool = False
    once: bool = False


def _customer(request: Any) -> Told:
    return Told(subjects=(request.customer_id,) if request.customer_id else ())


def _pair(request: Any) -> Told:
    return Told(subjects=tuple(filter(None, (request.customer_id, request.other_id))))


def _source(request: Any) -> Told:
    """What is no name of a source may be anything, and is refused later on."""
    return Told(details={"source": request.source}) if is_identifier(request.source) else Told()


def _catalog(request: Any) -> Told | None:
    return None if request.validate_only else Told({"bytes": len(request.catalog)})


def _published(response: Any) -> Told:
    counts = {"offers": response.offer_count, "placements": response.placement_count}
    return Told(counts, {"catalog_version": str(response.catalog_version)})


def _erased(response: Any) -> Told:
    removed = {store.store: store.removed for store in response.stores}
    return Told({"identifiers": response.identifiers, **removed})


RULES: Mapping[str, Rule] = {
    "CatalogService/ApplyCatalog": Rule(_catalog, _published, is_strict=True),
    "ProfileService/EraseProfile": Rule(_customer, _erased, is_strict=True),
    "ProfileService/ExportProfile": Rule(_customer, is_strict=True),
    "ProfileService/LinkIdentifiers": Rule(_pair),
    "ProfileService/UnlinkIdentifier": Rule(_pair),
    "ProfileService/LoadProfiles": Rule(_source),
    "ProfileService/StreamProfileDeltas": Rule(_source),
    "ProfileService/ApplyProfileDeltas": Rule(_source, once=True),
    "OutcomeService/ReportOutcomes": Rule(lambda _: Told(), once=True),
}
"""Every method that changes something, and the export of all that is known of a customer.

Reads are not audited, nor those of a customer (GetProfile, GetDecision, ReplayDecision) and of decisions made anew; nor
is a call that the guards refuse before its handler, as for a role that its caller has not.
"""


def audited(
    endpoints: Iterable[Endpoint | StreamEndpoint], log: AuditLog, now_us: Callable[[], int]
) -> list[Endpoint | StreamEndpoint]:
    """The endpoints, those of the table with audited handlers. `now_us` tells microseconds since 1970."""
    return [_audited(endpoint, log, now_us) for endpoint in endpoints]


def _audited(
    endpoint: Endpoint | StreamEndpoint, log: AuditLog, now_us: Callable[[], int]
) -> Endpoint | StreamEndpoint:
    method = endpoint.path.removeprefix(_PREFIX)
    rule = RULES.get(method)
    if rule is None:
        return endpoint
    book = _Book(method.replace("/", "."), rule, log, now_us)
    if isinstance(endpoint, StreamEndpoint):
        return replace(endpoint, handler=_Streaming(endpoint.handler, book))
    return replace(endpoint, handler=_Unary(endpoint.handler, book))


class _Book:
    """What is written about the calls of one method."""

    def __init__(self, method: str, rule: Rule, log: AuditLog, now_us: Callable[[], int]) -> None:
        self.rule = rule
        self._method = method
        self._log = log
        self._now_us = now_us
        self._seen: LRUCache[tuple[str, ...], bool] = LRUCache(_REMEMBERED_SOURCES)

    async def begin(self, told: Told) -> None:
        """An act is about to begin."""
        if self.rule.is_strict:
            await self._log.record(self._entry(Phase.BEGUN, "", told))

    async def end(self, told: Told, status: str) -> None:
        """An act has ended."""
        if not self._is_new(told, status):
            return
        entry = self._entry(Phase.ENDED, status, told)
        if self.rule.is_strict:
            await self._log.record(entry)
        else:
            self._log.note(entry)

    def note(self, told: Told, phase: Phase, status: str) -> None:
        """The same without waiting, for calls that nobody waits for any more and streams that go on."""
        if phase is Phase.BEGUN or self._is_new(told, status):
            self._log.note(self._entry(phase, status, told))

    def note_end_of(self, told: Told, task: "Task[Any]") -> None:
        """The same of an act that is done, and whose caller has left before."""
        if not task.cancelled():
            error = task.exception()
            self.note(told, Phase.ENDED, "OK" if error is None else _status_of(error))

    def _is_new(self, told: Told, status: str) -> bool:
        """Whether this is to be written: the same end of the same caller's acts may need to be but once."""
        if not self.rule.once:
            return True
        end = (_name(), status, *told.details.values())
        is_new = end not in self._seen
        self._seen[end] = True
        return is_new

    def _entry(self, phase: Phase, status: str, told: Told) -> AuditEntry:
        return AuditEntry(self._now_us(), _name(), self._method, phase, status, *told)


class _Unary:
    """A unary method's handler with its book."""

    def __init__(self, handler: Callable[[Any], Awaitable[Any]], book: _Book) -> None:
        self._handler = handler
        self._book = book

    async def __call__(self, request: Any) -> Any:
        told = self._book.rule.asked(request)
        if told is None:
            return await self._handler(request)
        await self._book.begin(told)
        try:
            response = await self._handler(request)
        except OpportuneError as error:
            await self._book.end(told, error.reason.name)
            raise
        except CallerLeftError as left:
            left.task.add_done_callback(partial(self._book.note_end_of, told))
            raise
        except BaseException as error:
            self._book.note(told, Phase.ENDED, _status_of(error))
            raise
        more = self._book.rule.answered(response)
        await self._book.end(
            Told({**told.counts, **more.counts}, {**told.details, **more.details}, told.subjects), "OK"
        )
        return response


class _Streaming:
    """A streaming method's handler with its book."""

    def __init__(self, handler: Callable[[Stream], Awaitable[None]], book: _Book) -> None:
        self._handler = handler
        self._book = book

    async def __call__(self, stream: Stream) -> None:
        watched = _Watched(stream, self._book)
        try:
            await self._handler(watched)
        except OpportuneError as error:
            await watched.end(error.reason.name)
            raise
        except BaseException as error:
            watched.note(_status_of(error))
            raise
        await watched.end("OK")


class _Watched:
    """A stream that begins its book with its first message, and counts."""

    def __init__(self, stream: Stream, book: _Book) -> None:
        self._stream = stream
        self._book = book
        self._told: Told | None = None
        self._received = self._sent = 0

    async def receive(self) -> Any:
        message = await self._stream.receive()
        if message is not None:
            self._received += 1
            if self._received == 1:
                await self._begin(message)
        return message

    async def send(self, message: Message) -> None:
        await self._stream.send(message)
        self._sent += 1

    async def end(self, status: str) -> None:
        """The call has ended."""
        if self._told is not None:
            await self._book.end(self._counted(self._told), status)

    def note(self, status: str) -> None:
        """The same without waiting."""
        if self._told is not None:
            self._book.note(self._counted(self._told), Phase.ENDED, status)

    async def _begin(self, message: Any) -> None:
        told = self._book.rule.asked(message)
        if told is None:
            return
        if self._book.rule.is_strict:
            await self._book.begin(told)
        else:
            # Who opens the stream of a source is known while it is open, which may be for weeks.
            self._book.note(told, Phase.BEGUN, "")
        self._told = told

    def _counted(self, told: Told) -> Told:
        return told._replace(counts={"received": self._received, "sent": self._sent})


def _name() -> str:
    caller = calling()
    return "" if caller is None else caller.name


def _status_of(error: BaseException) -> str:
    if isinstance(error, OpportuneError):
        return error.reason.name
    return "UNANSWERED" if isinstance(error, CancelledError) else "INTERNAL"
