from hashlib import sha256
from pathlib import Path

import pytest

from server.domain.caller import Caller, Role
from server.wire.static_tokens import owner_of, read_callers, read_tokens
from tests.support.credentials import digest


def file(folder: Path, text: str) -> Path:
    path = folder / "tokens"
    path.write_text(text, encoding="utf-8")
    return path


def test_token_belongs_to_the_caller_of_its_line(tmp_path: Path) -> None:
    text = f"# callers\n\ntill rank,ingest {digest('one')}\n  desk   admin {digest('two').upper()}  \n"

    tokens = read_tokens(file(tmp_path, text))

    owners = [owner_of(tokens, sha256(token).digest()) for token in (b"one", b"two", b"three", b"")]
    assert owners == [
        Caller("till", frozenset({Role.RANK, Role.INGEST})),
        Caller("desk", frozenset({Role.ADMIN})),
        None,
        None,
    ]


@pytest.mark.parametrize(
    "line",
    [
        "till rank",
        f"till {digest('x')}",
        f"till rank extra {digest('x')}",
        f"till rank,cook {digest('x')}",
        f"till rank,rank {digest('x')}",
        f"till RANK {digest('x')}",
        f"till , {digest('x')}",
        f"tïll rank {digest('x')}",
        f"{'t' * 129} rank {digest('x')}",
        f"till rank {digest('x')[1:]}",
        "till rank a-secret-that-was-not-hashed",
    ],
)
def test_line_that_is_wrong_is_named_by_its_number_and_not_quoted(tmp_path: Path, line: str) -> None:
    path = file(tmp_path, f"desk admin {digest('two')}\n{line}\n")

    with pytest.raises(ValueError, match="line 2") as refused:
        read_tokens(path)

    assert line.rsplit(maxsplit=1)[-1] not in str(refused.value)


def test_hash_of_no_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: is the sha256 of no token"):
        read_tokens(file(tmp_path, f"till rank {digest('x')}\ndesk admin {digest('').upper()}\n"))


def test_token_of_two_callers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="same token"):
        read_tokens(file(tmp_path, f"a rank {digest('x')}\nb admin {digest('x')}\n"))


def test_callers_by_certificate_are_found_by_their_name(tmp_path: Path) -> None:
    found = read_callers(file(tmp_path, "spiffe://shop/till rank\ndesk.shop.example privacy,catalog\n"))

    assert found["spiffe://shop/till"] == Caller("spiffe://shop/till", frozenset({Role.RANK}))
    assert found["desk.shop.example"].roles == {Role.PRIVACY, Role.CATALOG}


@pytest.mark.parametrize("text", ["till\n", "till rank x\n", "till rank\ntill admin\n", "till cook\n"])
def test_callers_that_are_wrong_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        read_callers(file(tmp_path, text))


@pytest.mark.parametrize("place", range(32))
def test_every_byte_of_the_hash_counts(tmp_path: Path, place: int) -> None:
    tokens = read_tokens(file(tmp_path, f"till rank {digest('one')}\n"))
    almost = bytearray(sha256(b"one").digest())

    almost[place] ^= 1

    assert owner_of(tokens, bytes(almost)) is None
