"""Key sets as their issuer publishes them: fetched before the server starts, and again and again behind it.

An issuer that cannot be reached changes nothing: the keys that are known go on. A token with an unknown key asks for
the next fetch, which comes soon, and never more often than every few seconds, whatever tokens come.
"""

import asyncio
import http.client
import logging
import random
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jwt import PyJWK

from server.wire.key_set import KeySet, key_set_from

REFRESH_S = 300.0
MIN_PAUSE_S = 5.0
TIMEOUT_S = 5.0
MAX_BYTES = 1024 * 1024
FILE_CHECK_S = 5.0

Fetch = Callable[[], bytes]
_LOG = logging.getLogger(__name__)


class KeyRing:
    """The keys of one issuer. `open` it first; `run` then keeps it up to date."""

    def __init__(
        self,
        location: str,
        algorithms: frozenset[str],
        *,
        fetch: Fetch | None = None,
        min_pause_s: float = MIN_PAUSE_S,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        """Prepares.

        Args:
            location: A path, or an `https:` or `http:` URL.
            algorithms: What tokens may be signed with.
            fetch: Gets the bytes, in a thread; by default from the location.
            min_pause_s: Between two fetches at least.
            on_change: Called when keys have been replaced by others.
        """
        self._location = location
        self._algorithms = algorithms
        self._is_url = location.startswith(("https:", "http:"))
        self._fetch = fetch or (lambda: _fetched(location) if self._is_url else Path(location).read_bytes())
        self._min_pause_s = min_pause_s
        self.on_change = on_change
        self._wanted = asyncio.Event()
        self._content = b""
        self._keys = KeySet({})
        self._failures = 0

    async def open(self) -> None:
        """Fetches the keys for the first time.

        Raises:
            RuntimeError: they cannot be fetched, or are no keys that can be used.
        """
        try:
            self._take(await self._fetched())
        except (OSError, ValueError) as error:
            raise RuntimeError(f"the keys of {self._location} cannot be had: {error}") from None
        if not self._keys:
            raise RuntimeError(f"the keys of {self._location} cannot be had: none of them can be used")

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key for a token. One that is not known is looked for in the background."""
        key = self._keys.find(key_id, algorithm)
        if key is None:
            self._wanted.set()
        return key

    async def run(self) -> None:
        """Keeps the keys up to date until it is cancelled."""
        while True:
            await asyncio.sleep(self._pause_s())
            await self._until_due()
            self._wanted.clear()
            try:
                await self.refresh()
            except Exception:
                # Whatever it is, keys that are withdrawn tomorrow must be noticed.
                _LOG.exception("the keys of %s could not be looked for, which is tried again", self._location)
                self._failures += 1

    async def refresh(self) -> None:
        """Fetches the keys again; whatever goes wrong, the known ones stay. A set without any withdraws them all."""
        try:
            content = await self._fetched()
            changed = content != self._content
            self._take(content)
        except (OSError, ValueError) as error:
            if self._failures == 0:
                _LOG.error("the keys of %s cannot be had, the known ones go on: %s", self._location, error)
            self._failures += 1
            return
        if self._failures:
            _LOG.info("the keys of %s can be had again", self._location)
        self._failures = 0
        if changed:
            if not self._keys:
                _LOG.warning("the keys of %s are withdrawn: none is left that can be used", self._location)
            self.on_change()

    def _take(self, content: bytes) -> None:
        self._keys = key_set_from(content, self._algorithms)
        self._content = content

    async def _fetched(self) -> bytes:
        return await asyncio.get_running_loop().run_in_executor(None, self._fetch)

    def _pause_s(self) -> float:
        """No fetch follows another sooner than this; after failures it doubles, up to the usual time."""
        pause_s: float = self._min_pause_s * 2 ** min(self._failures, 10)
        return min(REFRESH_S, pause_s) * random.uniform(1.0, 1.2)

    async def _until_due(self) -> None:
        try:
            async with asyncio.timeout(0 if self._failures else REFRESH_S if self._is_url else FILE_CHECK_S):
                await self._wanted.wait()
        except TimeoutError:
            pass


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An issuer that sends us elsewhere is not the one that was trusted."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None makes the answer an error."""


def _fetched(url: str) -> bytes:
    """What an URL answers.

    Raises:
        OSError: it does not, in time, or not in HTTP.
        ValueError: it answers too much.
    """
    deadline = time.monotonic() + TIMEOUT_S
    try:
        with urllib.request.build_opener(_NoRedirects).open(url, timeout=TIMEOUT_S) as response:
            content = bytearray()
            while part := response.read1(64 * 1024):
                content += part
                if len(content) > MAX_BYTES:
                    raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TimeoutError("it came too slowly")
    except http.client.HTTPException as error:
        # An answer that is cut off, or none of HTTP; its text may be quoted by it.
        raise OSError(f"it does not answer in HTTP: {type(error).__name__}") from error
    return bytes(content)
