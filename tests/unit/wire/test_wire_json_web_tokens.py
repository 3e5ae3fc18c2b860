"""Tokens that must not pass, and those that must; they are made with keys and encoders that are not the server's."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server.domain.caller import Caller, Role
from server.domain.errors import OpportuneError
from server.wire.json_web_tokens import JsonWebTokens, TokenRules
from server.wire.key_set import key_set_from
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, key_set

ALLOWED = frozenset({"RS256", "ES256", "EdDSA"})
RULES = TokenRules(ISSUER, AUDIENCE, ALLOWED)
RSA, EC, ED = (SigningKey(algorithm.lower(), algorithm) for algorithm in ("RS256", "ES256", "EdDSA"))
STRANGER = SigningKey("es256")
KEYS = key_set_from(key_set(RSA, EC, ED), ALLOWED)


def verifier(rules: TokenRules = RULES, now_s: float | None = None) -> JsonWebTokens:
    return JsonWebTokens(KEYS, rules, lambda: time.time() if now_s is None else now_s)


def refused(token: str, rules: TokenRules = RULES, now_s: float | None = None) -> str:
    with pytest.raises(OpportuneError) as caught:
        verifier(rules, now_s).owner(token)
    assert caught.value.message in ("the credentials are not valid here", "the credentials have expired")
    assert not caught.value.metadata
    return caught.value.reason.name


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hmac_token(secret: bytes, **header: Any) -> str:
    """A token whose signature is an HMAC, as an attacker makes it who knows the public key."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "till", "exp": int(time.time()) + 600, "roles": ["admin"]}
    signed = f"{part({'typ': 'JWT', **header})}.{part(claims)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_token_of_each_algorithm_names_its_owner_roles_and_end(key: SigningKey) -> None:
    expires = int(time.time()) + 100

    owner = verifier().owner(key.token(sub="spiffe://shop/till", roles=["rank", "ingest", "other"], exp=expires))

    assert owner == Caller("spiffe://shop/till", frozenset({Role.RANK, Role.INGEST}), expires + RULES.leeway_s)


@pytest.mark.parametrize(
    "token",
    [
        EC.token(aud="another"),
        EC.token(aud=None),
        EC.token(iss="https://evil.example"),
        EC.token(iss=None),
        EC.token(exp=None),
        EC.token(exp="tomorrow"),
        EC.token(exp=True),
        EC.token(exp=float("inf")),
        EC.token(sub=None),
        EC.token(sub=""),
        EC.token(sub="x" * 129),
        EC.token(nbf=int(time.time()) + 86_400),
        EC.token(iat=int(time.time()) + 86_400),
        STRANGER.token(),
        EC.token(headers={"kid": "nobody"}),
        EC.token(headers={"kid": "rs256"}),
        EC.token(headers={"crit": ["exp"]}),
        jwt.encode({"sub": "till"}, "", algorithm="none"),
        "",
        "a.b.c",
        "....",
        part({"alg": ["ES256"], "kid": "es256"}) + ".e30.",
        part({"alg": "ES256", "kid": 7}) + ".e30.",
        part([1]) + ".e30.e30",
        "é.é.é",
    ],
)  # fmt: skip
def test_token_that_is_not_good_is_refused_without_saying_why(token: str) -> None:
    assert refused(token) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("cut", [1, 20, 86])
def test_signature_that_was_changed_is_refused(cut: int) -> None:
    head, claims, signature = RSA.token().split(".")
    wrong = "A" if signature[cut] != "A" else "B"

    assert refused(f"{head}.{claims}.{signature[:cut]}{wrong}{signature[cut + 1 :]}") == "CREDENTIALS_INVALID"


def test_claims_that_were_changed_are_refused() -> None:
    head, _, signature = EC.token().split(".")
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "till", "exp": int(time.time()) + 600, "roles": ["admin"]}

    assert refused(f"{head}.{part(claims)}.{signature}") == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("algorithm", ["HS256", "none", "None", "hs256"])
def test_unsigned_token_and_one_signed_with_the_public_key_are_refused(algorithm: str) -> None:
    public = RSA.private.public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        b"",
    ]

    found = {refused(hmac_token(secret, alg=algorithm, kid="rs256")) for secret in secrets}
    found |= {refused(hmac_token(b"", alg=algorithm, kid="rs256").rpartition(".")[0] + ".")}

    assert found == {"CREDENTIALS_INVALID"}


def test_algorithm_that_the_operator_has_not_allowed_is_refused() -> None:
    narrow = RULES._replace(algorithms=frozenset({"RS256"}))

    assert verifier(narrow).owner(RSA.token()).name == "till"
    assert refused(EC.token(), narrow) == "CREDENTIALS_INVALID"


def test_token_is_good_until_its_end_and_the_leeway_and_not_a_moment_longer() -> None:
    token = EC.token(exp=1_000_030, iat=1_000_000, nbf=1_000_010)

    assert verifier(now_s=999_980.0).owner(token).name == "till"
    assert refused(token, now_s=999_979.9) == "CREDENTIALS_INVALID"
    assert verifier(now_s=1_000_059.9).owner(token).name == "till"
    assert refused(token, now_s=1_000_060.0) == "CREDENTIALS_EXPIRED"


def test_expired_token_of_a_stranger_is_only_invalid() -> None:
    assert refused(STRANGER.token(exp=1_000)) == "CREDENTIALS_INVALID"
    assert refused(EC.token(exp=1_000)) == "CREDENTIALS_EXPIRED"


@pytest.mark.parametrize(
    ("claim", "claims", "roles"),
    [
        ("roles", {"roles": "rank privacy"}, {Role.RANK, Role.PRIVACY}),
        ("scope", {"scope": "rank", "roles": ["admin"]}, {Role.RANK}),
        ("realm.roles", {"realm": {"roles": ["catalog"]}}, {Role.CATALOG}),
        ("realm.roles", {"realm.roles": ["ingest"], "realm": {"roles": ["catalog"]}}, {Role.INGEST}),
        ("roles", {"roles": None}, set()),
        ("roles", {"roles": 7}, set()),
        ("roles", {"roles": {"admin": True}}, set()),
        ("roles", {"roles": ["ADMIN", "administrator", ["admin"], None]}, set()),
        ("roles.x", {"roles": ["admin"]}, set()),
    ],
)
def test_roles_are_read_from_the_claim_that_is_named(claim: str, claims: dict[str, Any], roles: set[Role]) -> None:
    owner = verifier(RULES._replace(roles_claim=claim)).owner(EC.token(**claims))

    assert owner.roles == roles
