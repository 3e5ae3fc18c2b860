"""The vault's key, and what is made with it: encrypted texts and the pepper of match keys.

Texts are encrypted with AES-256-GCM under a random nonce of 96 bits. Identifier and attribute are authenticated with
each, so that nobody with access to the file can move a text to another customer. The key itself encrypts nothing:
every use has a subkey of its own.
"""

import base64
import binascii
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from server.domain.vault import SealedText

KEY_BYTES = 32
CHECK_BYTES = 16

_LAYOUT = b"\x01"
_NONCE_BYTES = 12
_hex = re.compile(r"[0-9a-fA-F]{64}").fullmatch
_base64 = re.compile(r"[0-9A-Za-z+/_-]{43}=?").fullmatch


class VaultKeyError(RuntimeError):
    """What should be the vault's key is not one, or not this vault's; nothing of it is in the message."""


class VaultKey:
    """32 secret bytes, which no message and no log can show by accident."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """Takes the key's bytes.

        Raises:
            VaultKeyError: they are not 32, or obviously not random.
        """
        if len(secret) != KEY_BYTES:
            raise VaultKeyError(f"the vault's key has {len(secret)} bytes instead of {KEY_BYTES}")
        if len(set(secret)) < KEY_BYTES // 4:
            # 32 random bytes have fewer than 8 different ones with a probability below 1e-30.
            raise VaultKeyError("the vault's key is not random: it has hardly any different bytes")
        self._secret = secret

    def subkey(self, purpose: str, size: int = KEY_BYTES) -> bytes:
        """A key for one purpose, from which neither this key nor another subkey can be worked out."""
        info = f"opportune vault: {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=size, salt=None, info=info).derive(self._secret)

    def __repr__(self) -> str:
        return "VaultKey(…)"

    def __reduce__(self) -> str:
        raise TypeError("a vault key is not pickled")


def key_from(text: str) -> VaultKey:
    """The key that a file or an environment value holds: 32 random bytes as 64 hex digits or as base64.

    Raises:
        VaultKeyError: it is neither.
    """
    digits = text.strip()
    if _hex(digits):
        return VaultKey(bytes.fromhex(digits))
    if not _base64(digits):
        what = f"the vault's key has {len(digits)} characters" if digits else "the vault's key is empty"
        raise VaultKeyError(
            f"{what}; it must be {KEY_BYTES} random bytes as 64 hex digits or as base64 (44 characters)"
        )
    try:
        return VaultKey(base64.b64decode(digits.rstrip("=") + "=", altchars=b"-_" if set(digits) & {*"-_"} else None))
    except binascii.Error:
        # Without a cause, which would quote what it was given.
        raise VaultKeyError("the vault's key is not base64") from None


class VaultSealer:
    """`Sealer` with a key, and what opens its texts again."""

    def __init__(self, key: VaultKey) -> None:
        self._cipher = AESGCM(key.subkey("texts"))
        self._pepper = key.subkey("match keys")
        self._check = key.subkey("check value", CHECK_BYTES)

    @property
    def pepper(self) -> bytes:
        """The key of the hashes that match rules compare."""
        return self._pepper

    @property
    def check(self) -> bytes:
        """Tells keys apart without telling anything about them; a vault notes it."""
        return self._check

    def seal(self, identifier: str, attribute: str, event_time_us: int, text: str) -> SealedText:
        """Encrypts a text, so that only this identifier's and attribute's place can hold it."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), _place(identifier, attribute))
        return SealedText(identifier, attribute, event_time_us, _LAYOUT + nonce + sealed)

    def open(self, identifier: str, attribute: str, sealed: bytes) -> str:
        """The text that was sealed for this place.

        Raises:
            ValueError: these are not the bytes that `seal` made for it; nothing of it is in the message.
        """
        if sealed[:1] != _LAYOUT:
            raise ValueError("it is sealed in a way that is not known here")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, ciphertext, _place(identifier, attribute)).decode()
        except (InvalidTag, ValueError):
            raise ValueError("it is not what was sealed for this place with this key") from None


def nonce_of(sealed: bytes) -> bytes:
    """What makes a sealed text unlike any other: who has not got it cannot open the text, even with the key."""
    return sealed[1 : 1 + _NONCE_BYTES]


def _place(identifier: str, attribute: str) -> bytes:
    """Identifier and attribute, so that no two places read alike."""
    name = identifier.encode()
    return len(name).to_bytes(4, "big") + name + attribute.encode()
