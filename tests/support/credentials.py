"""What callers come with: static tokens, signing keys with their key sets, and tokens signed with them."""

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
AUDIENCE = "opportune"

_MAKERS: dict[str, tuple[Any, Any]] = {
    "RS256": (lambda: rsa.generate_private_key(65_537, 2_048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


class SigningKey:
    """A private key, and what the world may know of it."""

    def __init__(self, key_id: str, algorithm: str = "ES256") -> None:
        make, self._form = _MAKERS[algorithm]
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any = make()

    def public(self, **changes: Any) -> dict[str, Any]:
        """The key as an entry of a key set; a change to None takes a member away."""
        entry = json.loads(self._form.to_jwk(self.private.public_key()))
        entry |= {"kid": self.key_id, "alg": self.algorithm, "use": "sig", **changes}
        return {name: value for name, value in entry.items() if value is not None}

    def token(self, headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A token of `till` that is good for ten minutes; changes are of its claims, None takes one away."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "till", "iat": now, "exp": now + 86_400, "roles": ["rank"]}
        claims |= changes
        return jwt.encode(
            {name: value for name, value in claims.items() if value is not None},
            self.private,
            algorithm=self.algorithm,
            headers={"kid": self.key_id, **(headers or {})},
        )


def key_set(*entries: SigningKey | dict[str, Any]) -> bytes:
    """A key set of keys or of entries."""
    keys = [entry.public() if isinstance(entry, SigningKey) else entry for entry in entries]
    return json.dumps({"keys": keys}).encode()


def digest(token: str) -> str:
    """What stands in a file of static tokens for a token."""
    return sha256(token.encode()).hexdigest()


def tokens_file(folder: Path, **roles: str) -> Path:
    """A file of static tokens: the token of `name` is `name-token`."""
    path = folder / "tokens"
    path.write_text("".join(f"{name} {words} {digest(name + '-token')}\n" for name, words in roles.items()))
    return path


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata that brings a token."""
    return (("authorization", f"Bearer {token}"),)
