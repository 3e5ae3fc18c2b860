"""Who the load tests are, for servers that ask."""

from collections.abc import Sequence
from hashlib import sha256

Metadata = Sequence[tuple[str, str]]

TOKEN = "loadtest-0123456789abcdef0123456789abcdef"
"""Known to servers on loopback that a load test has started itself, and to nobody else."""


def bearer(token: str) -> Metadata:
    """What a caller with a token sends along."""
    return (("authorization", f"Bearer {token}"),)


def known_tokens() -> str:
    """The file of static tokens of a server that lets the load tests do everything."""
    return f"loadtest admin {sha256(TOKEN.encode()).hexdigest()}\n"
