"""Tokens that stand in a file, as hashes: enough for a handful of callers.

A line is `name role,role sha256`, the last the token's SHA-256 in hex (`printf %s "$TOKEN" | sha256sum`). Empty lines
and lines that begin with `#` are passed over. Callers by certificate stand in a file of the same form, without hash.
"""

import re
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import NamedTuple

from server.domain.caller import Caller, Role, roles_from

MAX_NAME = 128

_NO_TOKEN = sha256(b"").digest()

_digest = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_name = re.compile(rf"[!-~]{{1,{MAX_NAME}}}").fullmatch


class StaticToken(NamedTuple):
    """A token's SHA-256, and whose it is."""

    digest: bytes
    caller: Caller


def read_tokens(path: Path) -> tuple[StaticToken, ...]:
    """The tokens of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not as it should be; its number is in the message, nothing of its content.
    """
    found = []
    for number, words in _lines(path):
        if len(words) != 3 or _digest(words[2]) is None:
            raise ValueError(f"{path}, line {number}: should be: name role,role sha256 of the token in hex")
        digest = bytes.fromhex(words[2])
        if digest == _NO_TOKEN:
            # What `printf %s "$TOKEN" | sha256sum` makes of a variable that is not set.
            raise ValueError(f"{path}, line {number}: is the sha256 of no token at all")
        found.append(StaticToken(digest, _caller(path, number, words)))
    if len({token.digest for token in found}) < len(found):
        raise ValueError(f"{path}: two callers have the same token")
    return tuple(found)


def read_callers(path: Path) -> dict[str, Caller]:
    """The callers of a file by name: a name in a certificate, such as `spiffe://shop.example/till`.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not as it should be.
    """
    found: dict[str, Caller] = {}
    for number, words in _lines(path):
        if len(words) != 2 or words[0] in found:
            raise ValueError(f"{path}, line {number}: should be: name role,role, each name once")
        found[words[0]] = _caller(path, number, words)
    return found


def owner_of(tokens: tuple[StaticToken, ...], digest: bytes) -> Caller | None:
    """Whose token has this SHA-256. Every token is compared, in a time that does not tell how much was alike."""
    owner = None
    for token in tokens:
        if compare_digest(token.digest, digest):
            owner = token.caller
    return owner


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None
    numbered = enumerate(text.splitlines(), 1)
    return [(number, line.split()) for number, line in numbered if line.strip() and not line.lstrip().startswith("#")]


def _caller(path: Path, number: int, words: list[str]) -> Caller:
    roles = words[1].split(",")
    if _name(words[0]) is None or len(roles_from(roles)) != len(roles):
        known = ", ".join(role.value for role in Role)
        raise ValueError(
            f"{path}, line {number}: the name is at most {MAX_NAME} ASCII characters, roles are of {known}"
        )
    return Caller(words[0], roles_from(roles))
