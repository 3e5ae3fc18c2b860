import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from server.domain.caller import SIGNATURES
from server.wire.key_set import key_set_from
from tests.support.credentials import SigningKey, key_set

EC = SigningKey("ec")
RSA = SigningKey("rsa", "RS256")


def test_key_is_found_by_its_id_and_its_algorithm_only() -> None:
    keys = key_set_from(key_set(EC, RSA), SIGNATURES)

    assert keys.find("ec", "ES256") is not None
    assert [keys.find(*of) for of in (("ec", "RS256"), ("rsa", "ES256"), ("rsa", "HS256"), ("", "ES256"))] == [None] * 4


def test_key_without_algorithm_verifies_those_of_its_kind_that_are_allowed() -> None:
    keys = key_set_from(key_set(RSA.public(alg=None)), {"RS256", "PS256", "ES256", "HS256"})

    assert [name for name in ("RS256", "PS256", "ES256", "RS512", "HS256") if keys.find("rsa", name)] == [
        "RS256",
        "PS256",
    ]


def test_token_without_key_id_is_for_a_set_that_leaves_no_choice() -> None:
    one = key_set_from(key_set(EC.public(kid=None), RSA), SIGNATURES)
    two = key_set_from(key_set(EC.public(kid=None), SigningKey("other").public(kid=None)), SIGNATURES)

    assert one.find(None, "ES256") is not None
    assert two.find(None, "ES256") is None


@pytest.mark.parametrize(
    "entry",
    [
        EC.public(use="enc"),
        EC.public(key_ops=["encrypt"]),
        EC.public(key_ops=7),
        EC.public(alg="ES384"),
        EC.public(crv="secp256k1", alg=None),
        EC.public(x="AA"),
        EC.public(kty="oct", k="c2VjcmV0", alg="HS256"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
        json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65_537, 1_024).public_key())),
        {},
        {"kty": ["EC"]},
    ],
)
def test_keys_that_cannot_be_used_are_passed_over(entry: dict[str, object]) -> None:
    keys = key_set_from(key_set(entry, RSA), SIGNATURES)

    assert len(keys) == 1
    assert len(key_set_from(key_set(entry), SIGNATURES)) == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"keys": 7}', b"[" * 100_000])
def test_what_is_no_key_set_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a JSON Web Key Set"):
        key_set_from(content, SIGNATURES)


def test_private_half_of_a_key_is_not_kept() -> None:
    private = json.loads(RSAAlgorithm.to_jwk(RSA.private)) | {"kid": "rsa", "key_ops": ["verify"]}
    assert "d" in private

    key = key_set_from(key_set(private), {"RS256"}).find("rsa", "RS256")

    assert key is not None
    assert not hasattr(key.key, "private_numbers")
