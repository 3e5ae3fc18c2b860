"""Who passes: by which credentials, to which methods, and for how long without being verified again."""

from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest

from server.domain.caller import Caller, Role
from server.domain.errors import OpportuneError
from server.wire.authentication import REMEMBERED_S, Authentication, Credentials, seconds_left
from server.wire.call import Call
from server.wire.caller import CALLER, WATCH, calling
from server.wire.json_web_tokens import JsonWebTokens, expired_credentials, invalid_credentials
from server.wire.reloaded import Reloaded
from server.wire.static_tokens import read_callers, read_tokens
from tests.support.credentials import bearer, tokens_file

RANK, ERASE = "/opportune.v1.DecisionService/RankOffers", "/opportune.v1.ProfileService/EraseProfile"
STREAM = "/opportune.v1.ProfileService/StreamProfileDeltas"
ACCESS = {RANK: Role.RANK, ERASE: Role.PRIVACY, STREAM: Role.RANK}


class Signed(JsonWebTokens):
    """Tokens that are their owner's name and end, `till:1000`; it counts what it verifies."""

    def __init__(self, clock: Any) -> None:
        self.verified = 0
        self._now = clock

    def owner(self, token: str) -> Caller:
        self.verified += 1
        name, _, expires = token.partition(":")
        if self._now() >= float(expires):
            raise expired_credentials()
        return Caller(name, frozenset({Role.RANK}), float(expires))


class Clock:
    """Seconds that a test owns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signed(clock: Clock) -> Signed:
    return Signed(clock)


@pytest.fixture
def guard(tmp_path: Path, clock: Clock, signed: Signed) -> Authentication:
    path = tokens_file(tmp_path, till="rank", desk="admin")
    certified = tmp_path / "callers"
    certified.write_text("spiffe://shop/till rank\n")
    credentials = Credentials(
        tokens=Reloaded((path,), lambda: read_tokens(path)),
        signed=signed,
        certified=Reloaded((certified,), lambda: read_callers(certified)),
    )
    CALLER.set(None)
    WATCH.set(None)
    return Authentication(credentials, ACCESS, clock, streams=[STREAM])


def refused(guard: Authentication, path: str, call: Call) -> str:
    with pytest.raises(OpportuneError) as caught:
        guard(path, call)
    return caught.value.reason.name


def test_caller_with_the_role_passes_and_is_known(guard: Authentication) -> None:
    guard(RANK, Call(bearer("till-token")))

    caller = calling()
    assert caller is not None and caller.name == "till"


def test_caller_without_the_role_does_not_pass_and_admin_does(guard: Authentication) -> None:
    guard(ERASE, Call(bearer("desk-token")))

    assert refused(guard, ERASE, Call(bearer("till-token"))) == "ROLE_MISSING"
    assert refused(guard, "/opportune.v1.DecisionService/Unheard", Call(bearer("desk-token"))) == "ROLE_MISSING"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "CREDENTIALS_MISSING"),
        ((("authorisation", "Bearer till-token"),), "CREDENTIALS_MISSING"),
        ((("authorization", "till-token"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Basic dGlsbA=="),), "CREDENTIALS_INVALID"),
        ((("authorization", b"Bearer till-token"),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer "),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer   "),), "CREDENTIALS_INVALID"),
        ((("authorization", "Bearer x"),), "CREDENTIALS_EXPIRED"),
        ((*bearer("till-token"), *bearer("till-token")), "CREDENTIALS_INVALID"),
        ((*bearer("till-token"), ("authorization", "Bearer x")), "CREDENTIALS_INVALID"),
    ],
)
def test_credentials_that_are_missing_or_of_another_kind_are_refused(
    guard: Authentication, signed: Signed, metadata: Any, reason: str
) -> None:
    signed.owner = lambda token: (_ for _ in ()).throw(expired_credentials())  # type: ignore[method-assign]

    assert refused(guard, RANK, Call(metadata)) == reason
    assert calling() is None


def test_refused_call_is_not_taken_for_one_of_the_caller_before(guard: Authentication) -> None:
    guard(RANK, Call(bearer("desk-token")))

    refused(guard, RANK, Call())
    nobody = calling()
    refused(guard, ERASE, Call(bearer("till-token")))
    till = calling()

    assert nobody is None
    assert till is not None and till.name == "till"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_is_read_in_any_case(guard: Authentication, scheme: str) -> None:
    guard(RANK, Call((("x", "y"), ("authorization", f"{scheme} till-token"))))


def test_token_is_verified_once_while_it_is_remembered(guard: Authentication, signed: Signed, clock: Clock) -> None:
    call = Call(bearer("app:10000"))

    for _ in range(3):
        guard(RANK, call)
    clock.now_s += REMEMBERED_S
    guard(RANK, call)

    assert signed.verified == 2


def test_token_is_not_remembered_beyond_its_end(guard: Authentication, clock: Clock) -> None:
    call = Call(bearer("app:150"))

    guard(RANK, call)
    clock.now_s = 149.9
    guard(RANK, call)
    clock.now_s = 150.0

    assert refused(guard, RANK, call) == "CREDENTIALS_EXPIRED"


def test_refusals_are_not_remembered(guard: Authentication, signed: Signed) -> None:
    for _ in range(2):
        refused(guard, RANK, Call(bearer("app:1")))

    assert signed.verified == 2


def test_token_that_was_taken_out_of_its_file_is_refused(guard: Authentication, tmp_path: Path) -> None:
    guard(RANK, Call(bearer("till-token")))

    tokens_file(tmp_path, desk="admin")
    guard.refresh()

    with pytest.raises(ValueError, match="could not convert"):
        # It is nobody's, so the signed ones are asked, which cannot read it.
        guard(RANK, Call(bearer("till-token")))


def test_keys_that_changed_have_every_token_verified_again(guard: Authentication, signed: Signed) -> None:
    call = Call(bearer("app:10000"))
    guard(RANK, call)

    guard.forget()
    guard(RANK, call)

    assert signed.verified == 2


def test_no_token_is_nobodys_even_if_a_file_could_say_so(guard: Authentication, signed: Signed) -> None:
    signed.owner = lambda token: Caller("nobody", frozenset({Role.ADMIN}))  # type: ignore[method-assign]

    assert refused(guard, RANK, Call((("authorization", "Bearer "),))) == "CREDENTIALS_INVALID"


def opened(guard: Authentication, *calls: Call) -> tuple[list[int], list[Any]]:
    """Opens streams; the places of those that have been withdrawn so far, and what ends the watch of each."""
    withdrawn: list[int] = []
    watches = []
    for place, call in enumerate(calls):
        guard(STREAM, call)
        watch = WATCH.get()
        assert watch is not None
        watches.append(watch(partial(withdrawn.append, place)))
    return withdrawn, watches


def test_open_streams_are_withdrawn_with_their_callers_and_with_their_roles(
    guard: Authentication, tmp_path: Path
) -> None:
    calls = [Call(bearer("till-token")), Call(bearer("desk-token")), Call(names=("spiffe://shop/till",))]
    withdrawn, _ = opened(guard, *calls)

    tokens_file(tmp_path, till="privacy", desk="admin")
    guard.refresh()
    by_role = withdrawn.copy()
    (tmp_path / "callers").write_text("")
    guard.refresh()

    assert by_role == [0]
    assert set(withdrawn) == {0, 2}


def test_open_streams_are_withdrawn_with_their_keys(guard: Authentication, signed: Signed) -> None:
    withdrawn, _ = opened(guard, Call(bearer("app:10000")), Call(bearer("desk-token")))

    guard.forget()
    before = withdrawn.copy()
    signed.owner = lambda token: (_ for _ in ()).throw(invalid_credentials())  # type: ignore[method-assign]
    guard.forget()

    assert (before, withdrawn) == ([], [0])


def test_stream_that_has_ended_is_not_withdrawn(guard: Authentication, tmp_path: Path) -> None:
    withdrawn, (ended, _) = opened(guard, Call(names=("spiffe://shop/till",)), Call(names=("spiffe://shop/till",)))

    ended()
    (tmp_path / "callers").write_text("")
    guard.refresh()

    assert withdrawn == [1]


def test_short_calls_are_not_watched(guard: Authentication) -> None:
    guard(RANK, Call(bearer("till-token")))

    assert WATCH.get() is None


def test_name_in_a_certificate_stands_for_a_caller(guard: Authentication) -> None:
    guard(RANK, Call(names=("DNS.example", "spiffe://shop/till")))

    caller = calling()
    assert caller is not None and caller.name == "spiffe://shop/till"
    assert refused(guard, ERASE, Call(names=("spiffe://shop/till",))) == "ROLE_MISSING"
    assert refused(guard, RANK, Call(names=("spiffe://shop/till2",))) == "CREDENTIALS_MISSING"


def test_bad_token_is_not_made_good_by_a_certificate(guard: Authentication) -> None:
    call = Call((("authorization", "Basic x"),), names=("spiffe://shop/till",))

    assert refused(guard, RANK, call) == "CREDENTIALS_INVALID"


def test_server_without_signed_tokens_refuses_what_is_not_in_its_file(tmp_path: Path) -> None:
    path = tokens_file(tmp_path, till="rank")
    guard = Authentication(Credentials(tokens=Reloaded((path,), lambda: read_tokens(path))), ACCESS)

    assert refused(guard, RANK, Call(bearer("till-tokem"))) == "CREDENTIALS_INVALID"
    assert refused(guard, RANK, Call(names=("till",))) == "CREDENTIALS_MISSING"


def test_credentials_are_good_for_the_seconds_that_are_left() -> None:
    caller = Caller("till", frozenset())

    assert seconds_left(None, 5.0) is None
    assert seconds_left(caller, 5.0) is None
    assert seconds_left(caller._replace(expires_s=1e300), 5.0) is None
    assert seconds_left(caller._replace(expires_s=7.5), 5.0) == 2.5
    assert caller.expires_s == inf
    with pytest.raises(OpportuneError, match="expired"):
        seconds_left(caller._replace(expires_s=5.0), 5.0)
