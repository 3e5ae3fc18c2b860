"""PublishCatalog and ListOffers."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from server.domain.catalog import Problem
from server.domain.clock import microseconds_of
from server.domain.errors import ErrorReason, OpportuneError, Violation, invalid_field
from server.domain.identifier import require_identifier
from server.domain.journal import CatalogPublished
from server.domain.offer import Offer
from server.execution.answered import AnsweredRequests
from server.execution.compile import Compilation
from server.execution.compiled import CompiledCatalog
from server.execution.finishing import finish
from server.execution.state import Clock, State
from server.execution.writer import Writer
from server.intelligence.conditions.lexer import MAX_BYTES

DEFAULT_PAGE = 100
MAX_PAGE = 1_000

Compile = Callable[[str], Awaitable[Compilation]]
"""Compiles a catalog's text somewhere off the event loop."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What was published, or with validate_only what would be."""

    version: int
    etag: str
    offer_count: int
    placement_count: int
    problems: tuple[Problem, ...] = ()


class PublishCatalog:
    """Replaces the catalog by another one, whole or not at all."""

    def __init__(
        self,
        state: State,
        writer: Writer,
        clock: Clock,
        compile_text: Compile,
        *,
        served: Callable[[CompiledCatalog], None] = lambda catalog: None,
    ) -> None:
        """Publishes to a state; `served` is told of each catalog that is served."""
        self._state = state
        self._writer = writer
        self._clock = clock
        self._compile = compile_text
        self._served = served
        self._answered: AnsweredRequests[Publication] = AnsweredRequests()
        self._one_at_a_time = asyncio.Lock()
        self._committing: asyncio.Task[Publication] | None = None

    async def __call__(
        self, text: str, *, validate_only: bool = False, etag: str = "", request_id: str = ""
    ) -> Publication:
        """Compiles a catalog's text and serves it from the next request on; it is durable then.

        A commit that has begun goes on to its end even if its caller leaves.

        Raises:
            OpportuneError: INVALID_CATALOG with every problem, ETAG_MISMATCH, REQUEST_ID_REUSED, JOURNAL_FULL,
                JOURNAL_FAILED.
        """
        if request_id:
            require_identifier("request_id", request_id)
        # One after the other, so that a retry finds what the first call published, and an etag stays current.
        async with self._one_at_a_time:
            if self._committing is not None:
                # Usually it is done; if its caller has left, it may still go on.
                await asyncio.wait([self._committing])
            return await self._publish(text, validate_only, etag, request_id)

    async def _publish(self, text: str, validate_only: bool, etag: str, request_id: str) -> Publication:
        body = (text, etag)
        known = None if validate_only else self._answered.find(request_id, body)
        if known is not None:
            return known
        self._check_etag(etag)
        catalog, problems = await self._compile(text)
        version = self._state.catalog_version + 1
        if catalog is None or problems:
            if validate_only:
                return Publication(version, "", 0, 0, tuple(problems))
            raise refusal(problems)
        published = Publication(version, catalog.etag, len(catalog.offers), len(catalog.placements))
        if validate_only:
            return replace(published, problems=tuple(self._model_problems(catalog)))
        committing = self._commit(replace(catalog, version=version), published, request_id, body)
        self._committing = asyncio.create_task(committing, name="publication")
        return await finish(self._committing)

    async def _commit(
        self, catalog: CompiledCatalog, published: Publication, request_id: str, body: object
    ) -> Publication:
        """Publishes, and does all that belongs to it: the entry is written even if nobody waits for it any more."""
        await publish(self._state, self._writer, catalog, self._clock())
        self._served(catalog)
        self._answered.remember(request_id, body, published)
        return published

    def _model_problems(self, catalog: CompiledCatalog) -> Iterator[Problem]:
        """What only the models themselves can tell: whether they take the offers."""
        try:
            self._state.scorers_for(catalog)
        except OpportuneError as error:
            yield Problem("placements", error.message)

    def _check_etag(self, etag: str) -> None:
        current = self._state.catalog_etag
        if etag and etag != current:
            message = "the catalog has changed since the one that this etag names"
            raise OpportuneError(ErrorReason.ETAG_MISMATCH, message, {"etag": current})


async def publish(state: State, writer: Writer, catalog: CompiledCatalog, now: datetime) -> None:
    """Writes a compiled catalog to the journal and serves it.

    Raises:
        OpportuneError: INVALID_CATALOG if a model cannot take its offers, JOURNAL_FULL, JOURNAL_FAILED.
    """
    prepared = state.prepare(catalog)
    entry = CatalogPublished(
        microseconds_of(now),
        catalog.version,
        catalog.etag,
        catalog.text,
        catalog.customer,
        identity=catalog.identity,
        contacts=catalog.contacts,
    )
    await writer.write(entry, prepared)


def refusal(problems: list[Problem]) -> OpportuneError:
    """The error that refuses a catalog."""
    count = len(problems)
    message = f"the catalog has {count} problem{'s' if count > 1 else ''}; the first: {problems[0]}"
    violations = [Violation(problem.path, problem.description) for problem in problems]
    return OpportuneError(ErrorReason.INVALID_CATALOG, message, {"problems": str(count)}, violations)


class ListOffers:
    """Pages through the offers of the current catalog, ordered by id."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __call__(self, page_size: int, page_token: str, filter_text: str) -> tuple[list[Offer], str, int]:
        """One page of offers, the token of the next one (empty: none), and the catalog version.

        Raises:
            OpportuneError: INVALID_FIELD for page size, token or filter; NO_CATALOG.
        """
        catalog = self._state.catalog
        if page_size < 0:
            raise invalid_field("page_size", "must not be negative")
        if len(filter_text) > MAX_BYTES:
            raise invalid_field("filter", f"is longer than {MAX_BYTES:,} bytes")
        size = min(page_size or DEFAULT_PAGE, MAX_PAGE)
        after = _decode(page_token)
        offers = [offer for offer in catalog.offers.by_id if offer.id > after]
        if filter_text:
            mask = catalog.filter.mask(filter_text)
            offers = [offer for offer in offers if mask[catalog.offers.index[offer.id]]]
        page = offers[:size]
        return page, _encode(page[-1].id) if len(offers) > size else "", catalog.version


def _encode(offer_id: str) -> str:
    """A page token: the last id of the page, so that pages stay right while the catalog changes."""
    return base64.urlsafe_b64encode(offer_id.encode()).decode()


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid_field("page_token", "is not a token that ListOffers gave") from None
