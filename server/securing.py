"""Builds what stands at the door: who may call what, certificates, what keeps both up to date, and the audit log."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from server.domain.caller import Caller
from server.settings import Settings, SettingsError
from server.storage.audit import FileAuditLog
from server.storage.folder import AUDIT
from server.wire.access import access_of, streams_of
from server.wire.authentication import Authentication, Credentials
from server.wire.call import Guard
from server.wire.json_web_tokens import JsonWebTokens, TokenRules
from server.wire.key_ring import KeyRing
from server.wire.metadata_limit import limit_metadata
from server.wire.reloaded import Reloaded
from server.wire.static_tokens import StaticToken, read_callers, read_tokens
from server.wire.tls import Certificates, TlsFiles

REFRESH_EVERY_S = 5.0
_LOG = logging.getLogger("opportune")


@dataclass(frozen=True, slots=True)
class Door:
    """What a call has to pass, and what a connection is given.

    Attributes:
        guards: For every method, in their order.
        certificates: For TLS; None: none.
        is_open: Whether nobody is asked who they are.
    """

    guards: tuple[Guard, ...]
    certificates: Certificates | None
    is_open: bool


async def open_door(settings: Settings, services: Collection[ServiceDescriptor], stack: AsyncExitStack) -> Door:
    """Reads and fetches what callers are known by; the stack ends what keeps it up to date.

    Raises:
        SettingsError: the server would be open to a network, and nobody has said that it should; or a file is wrong.
        UndeclaredAccessError: a method declares no role.
        RuntimeError: the keys of tokens cannot be had.
    """
    access = access_of(services)
    if settings.is_open and not settings.is_local and not settings.insecure:
        raise SettingsError(
            f"listen: {settings.listen} can be reached by others, and nobody would be asked who they are: "
            "give it --tokens, --jwks or --tls-callers, or say --insecure"
        )
    try:
        certificates = _certificates(settings)
        if settings.is_open:
            return Door((limit_metadata,), certificates, is_open=True)
        tokens, certified = _tokens(settings), _certified(settings)
    except (OSError, ValueError) as problem:
        raise SettingsError(str(problem)) from problem
    ring = _key_ring(settings)
    signed = None
    if ring is not None:
        await ring.open()
        _start(stack, ring.run(), "token-keys")
        signed = JsonWebTokens(ring, _rules(settings), time.time)
    authentication = Authentication(Credentials(tokens, signed, certified), access, streams=streams_of(services))
    if ring is not None:
        ring.on_change = authentication.forget
    _start(stack, _repeat(authentication.refresh), "token-files")
    return Door((authentication, limit_metadata), certificates, is_open=False)


async def open_audit(settings: Settings, stack: AsyncExitStack) -> FileAuditLog | None:
    """Opens the audit log, which the stack closes; None where nothing is kept.

    Raises:
        BrokenChainError: it is not what was written.
        OSError: it cannot be written.
    """
    folder = settings.audit
    if folder is None and settings.data is not None and not settings.ephemeral:
        folder = settings.data / AUDIT
    if folder is None:
        return None
    log = FileAuditLog.open(folder, max_file_bytes=int(settings.audit_file_mib * 2**20))
    stack.push_async_callback(log.close)
    return log


def _tokens(settings: Settings) -> Reloaded[tuple[StaticToken, ...]] | None:
    path = settings.tokens
    return None if path is None else Reloaded((path,), lambda: read_tokens(path))


def _certified(settings: Settings) -> Reloaded[dict[str, Caller]] | None:
    path = settings.tls_callers
    return None if path is None else Reloaded((path,), lambda: read_callers(path))


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Certificates(TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca))


def _rules(settings: Settings) -> TokenRules:
    return TokenRules(
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        algorithms=frozenset(settings.jwt_algorithms.split(",")),
        roles_claim=settings.jwt_roles_claim,
        leeway_s=settings.jwt_leeway_s,
    )


def _key_ring(settings: Settings) -> KeyRing | None:
    if settings.jwks is None:
        return None
    if settings.jwks.startswith("http:"):
        _LOG.warning("keys of tokens come over http: whoever is on the way can replace them, and then be anybody")
    return KeyRing(settings.jwks, frozenset(settings.jwt_algorithms.split(",")))


def _start(stack: AsyncExitStack, work: "asyncio._CoroutineLike[None]", name: str) -> None:
    task = asyncio.create_task(work, name=name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _repeat(refresh: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(REFRESH_EVERY_S)
        try:
            refresh()
        except Exception:
            _LOG.exception("files of callers could not be read again, which is tried again")
