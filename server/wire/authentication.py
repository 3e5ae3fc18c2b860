"""Who calls, and may they? The guard that every method has, once the server knows its callers.

Credentials are a bearer token, static or signed, or a client certificate. What was verified is remembered by the hash
of the token, so that a call costs one look-up; nothing keeps the token itself.
"""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from hashlib import sha256
from typing import NamedTuple

from cachetools import TLRUCache

from server.domain.caller import Caller, Role
from server.domain.errors import ErrorReason, OpportuneError
from server.wire.call import Call
from server.wire.caller import CALLER, WATCH
from server.wire.json_web_tokens import JsonWebTokens, expired_credentials, invalid_credentials
from server.wire.reloaded import Reloaded
from server.wire.static_tokens import StaticToken, owner_of

REMEMBERED = 10_000
REMEMBERED_S = 300.0
"""For how long at most a token is not verified again."""

_SCHEME = "bearer "
_FOREVER_S = 10 * 365 * 86_400.0


class _Pass(NamedTuple):
    """A caller, with the paths of the methods that they may call."""

    caller: Caller
    paths: frozenset[str]


class Credentials(NamedTuple):
    """What callers may come with; at least one of them.

    Attributes:
        tokens: The static tokens.
        signed: Verifies JSON Web Tokens.
        certified: Callers by the names in client certificates.
    """

    tokens: Reloaded[tuple[StaticToken, ...]] | None = None
    signed: JsonWebTokens | None = None
    certified: Reloaded[dict[str, Caller]] | None = None


class Authentication:
    """Lets callers pass who have the role that a method asks for; a method that asks for none is nobody's."""

    def __init__(
        self,
        credentials: Credentials,
        access: Mapping[str, Role],
        clock: Callable[[], float] = time.time,
        streams: Collection[str] = (),
    ) -> None:
        """Prepares.

        Args:
            credentials: How callers are known.
            access: The role of each method by its path.
            clock: Tells seconds since 1970.
            streams: The paths of methods whose calls may stay open while credentials are withdrawn.
        """
        self._credentials = credentials
        self._access = dict(access)
        self._clock = clock
        self._streams = frozenset(streams)
        self._open: dict[object, tuple[str, Call, Callable[[], object]]] = {}
        self._passes: TLRUCache[bytes, _Pass] = TLRUCache(REMEMBERED, ttu=_forget_s, timer=clock)

    def __call__(self, path: str, call: Call) -> None:
        """See `Guard`."""
        # Whoever watches how calls end must not take the caller of another call for this one's.
        CALLER.set(None)
        passed = self._passed(call)
        CALLER.set(passed.caller)
        if path not in passed.paths:
            role = self._access.get(path)
            needed = {} if role is None else {"role": role.value}
            raise OpportuneError(ErrorReason.ROLE_MISSING, f"the caller must not call {path}", needed)
        if path in self._streams:
            WATCH.set(partial(self._watch, path, call))

    def refresh(self) -> None:
        """Reads files that have changed again."""
        changed = [
            source.refresh() for source in (self._credentials.tokens, self._credentials.certified) if source is not None
        ]
        if any(changed):
            self.forget()

    def forget(self) -> None:
        """Has every token verified again, those of open streams at once: keys or files are not what they were."""
        self._passes.clear()
        for path, call, withdraw in list(self._open.values()):
            if not self._may(path, call):
                withdraw()

    def _watch(self, path: str, call: Call, withdraw: Callable[[], object]) -> Callable[[], object]:
        """See `Watch`."""
        key = object()
        self._open[key] = (path, call, withdraw)
        return partial(self._open.pop, key, None)

    def _may(self, path: str, call: Call) -> bool:
        try:
            return path in self._passed(call).paths
        except OpportuneError:
            return False

    def _passed(self, call: Call) -> _Pass:
        values = [value for name, value in call.metadata if name == "authorization"]
        if not values:
            return self._by_certificate(call)
        if len(values) > 1:
            # A proxy may have looked at another one than this server would.
            raise invalid_credentials()
        return self._by_token(values[0])

    def _by_token(self, value: str | bytes) -> _Pass:
        if not isinstance(value, str) or value[: len(_SCHEME)].lower() != _SCHEME:
            raise invalid_credentials()
        token = value[len(_SCHEME) :].strip()
        if not token:
            raise invalid_credentials()
        digest = sha256(token.encode()).digest()
        try:
            return self._passes[digest]
        except KeyError:
            passed = self._passes[digest] = self._pass_of(self._owner(token, digest))
            return passed

    def _owner(self, token: str, digest: bytes) -> Caller:
        tokens, signed = self._credentials.tokens, self._credentials.signed
        owner = None if tokens is None else owner_of(tokens.content, digest)
        if owner is not None:
            return owner
        if signed is None:
            raise invalid_credentials()
        return signed.owner(token)

    def _by_certificate(self, call: Call) -> _Pass:
        certified = self._credentials.certified
        for name in call.names if certified is not None else ():
            caller = certified.content.get(name) if certified is not None else None
            if caller is not None:
                return self._pass_of(caller)
        raise OpportuneError(ErrorReason.CREDENTIALS_MISSING, "the call has no credentials")

    def _pass_of(self, caller: Caller) -> _Pass:
        return _Pass(caller, frozenset(path for path, role in self._access.items() if caller.may(role)))


def seconds_left(caller: Caller | None, now_s: float) -> float | None:
    """For how long a caller's credentials are good, None for ever.

    Raises:
        OpportuneError: CREDENTIALS_EXPIRED.
    """
    if caller is None or caller.expires_s > now_s + _FOREVER_S:
        return None
    if caller.expires_s <= now_s:
        raise expired_credentials()
    return caller.expires_s - now_s


def _forget_s(_: bytes, passed: _Pass, now_s: float) -> float:
    return min(now_s + REMEMBERED_S, passed.caller.expires_s)
