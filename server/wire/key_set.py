"""The public keys that tokens are signed with: a JSON Web Key Set (RFC 7517), as `(key id, algorithm)` to key.

A key verifies the algorithms of its own kind only, and never one that uses a public key as a secret, so that a token
cannot choose how it is looked at.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jwt import PyJWK, PyJWKError
from jwt.exceptions import InvalidKeyError

from server.domain.caller import SIGNATURES

MIN_RSA_BITS = 2_048

_BY_KIND = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}


class KeySet:
    """Keys by id and algorithm."""

    def __init__(self, keys: Mapping[tuple[str, str], PyJWK]) -> None:
        self._keys = dict(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """The key for a token; one that names no key is verified only by a set that leaves no choice."""
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        fitting = [key for (_, of), key in self._keys.items() if of == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def key_set_from(content: bytes, allowed: Iterable[str]) -> KeySet:
    """The keys of a set, for the algorithms that are allowed; maybe none. Those for other purposes are passed over.

    Raises:
        ValueError: it is no key set.
    """
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is not a JSON Web Key Set") from None
    if not isinstance(entries, list):
        raise ValueError("it is not a JSON Web Key Set")
    keys: dict[tuple[str, str], PyJWK] = {}
    for place, entry in enumerate(entries):
        if isinstance(entry, dict):
            key_id = entry.get("kid")
            name = key_id if isinstance(key_id, str) else f"\0{place}"
            for algorithm, key in _keys_of(entry, frozenset(allowed) & SIGNATURES):
                keys[name, algorithm] = key
    return KeySet(keys)


def _keys_of(entry: dict[str, Any], allowed: frozenset[str]) -> Iterator[tuple[str, PyJWK]]:
    operations = entry.get("key_ops", ["verify"])
    if entry.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return
    kind, curve = entry.get("kty"), entry.get("crv")
    for algorithm in _BY_KIND.get((str(kind), None if kind == "RSA" else str(curve)), ()):
        if algorithm in allowed and entry.get("alg", algorithm) == algorithm:
            try:
                key = PyJWK(_public(entry), algorithm)
            except (PyJWKError, InvalidKeyError, ValueError, TypeError):
                # A key that nobody can use is as good as none.
                return
            if kind == "RSA" and key.key.key_size < MIN_RSA_BITS:
                return
            yield algorithm, key


def _public(entry: dict[str, Any]) -> dict[str, Any]:
    """The key without what only its owner should have."""
    return {name: entry[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in entry}
