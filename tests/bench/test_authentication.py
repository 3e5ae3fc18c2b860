"""What asking who calls costs a ranking that is answered on the spot: the guards, beside the same call without them.

Timed with `--benchmark-enable`; without it each runs once.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opportune.v1.decision_service_pb2 import RankOffersRequest, RankOffersResponse

from server.service import SERVICES
from server.wire.access import access_of
from server.wire.authentication import Authentication, Credentials
from server.wire.call import Call, Guard
from server.wire.endpoint import DEFAULT_LIMIT_BYTES, Endpoint
from server.wire.json_web_tokens import JsonWebTokens, TokenRules
from server.wire.key_set import key_set_from
from server.wire.metadata_limit import limit_metadata
from server.wire.reloaded import Reloaded
from server.wire.static_tokens import read_tokens
from tests.support.credentials import AUDIENCE, ISSUER, SigningKey, bearer, key_set, tokens_file

PATH = "/opportune.v1.DecisionService/RankOffers"
PAYLOAD = RankOffersRequest(customer_id="loyalty:42", placement_id="home").SerializeToString()
RESPONSE = RankOffersResponse()
ALLOWED = frozenset({"RS256"})
USUAL = (("user-agent", "grpc-python/1.85"), ("x-request-id", "4711"), ("traceparent", "00-" + "0" * 52))
"""What comes with a call behind a mesh."""


def authentication(folder: Path, key: SigningKey) -> Authentication:
    tokens = tokens_file(folder, till="rank")
    rules = TokenRules(ISSUER, AUDIENCE, ALLOWED)
    signed = JsonWebTokens(key_set_from(key_set(key), ALLOWED), rules, clock=time.time)
    credentials = Credentials(Reloaded((tokens,), lambda: read_tokens(tokens)), signed)
    return Authentication(credentials, access_of(SERVICES))


def endpoint(guards: Sequence[Guard]) -> Endpoint:
    return Endpoint(PATH, RankOffersRequest, lambda request: RESPONSE, DEFAULT_LIMIT_BYTES, guards=guards)


@pytest.mark.parametrize("kind", ["nobody asks", "static token", "signed token"])
def test_call_that_is_answered_on_the_spot(benchmark: Any, tmp_path: Path, kind: str) -> None:
    key = SigningKey("key", "RS256")
    token = {"nobody asks": "", "static token": "till-token", "signed token": key.token()}[kind]
    guards: Sequence[Guard] = (limit_metadata, authentication(tmp_path, key)) if token else ()
    asked = endpoint(guards)
    call = Call((*USUAL, *bearer(token)))

    answer = benchmark(asked.answer, PAYLOAD, call)

    assert answer == RESPONSE.SerializeToString()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_token_that_was_not_seen_before(benchmark: Any, algorithm: str) -> None:
    key = SigningKey("key", algorithm)
    rules = TokenRules(ISSUER, AUDIENCE, frozenset({algorithm}))
    signed = JsonWebTokens(key_set_from(key_set(key), {algorithm}), rules, time.time)
    token = key.token()

    owner = benchmark(signed.owner, token)

    assert owner.name == "till"
