"""The vault's key and what is encrypted with it."""

import base64
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.storage.sealing import VaultKey, VaultKeyError, VaultSealer, key_from
from tests.support.entries import texts
from tests.support.erasing import KEY

SECRET = bytes.fromhex(KEY)
SEALER = VaultSealer(key_from(KEY))


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        KEY.upper(),
        f"  {KEY}\n",
        base64.b64encode(SECRET).decode(),
        base64.b64encode(SECRET).decode().rstrip("="),
        base64.urlsafe_b64encode(SECRET).decode(),
    ],
)
def test_key_is_read_as_hex_or_base64(text: str) -> None:
    assert VaultSealer(key_from(text)).check == SEALER.check


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (KEY[:-1], "has 63 characters"),
        (KEY[:32], "has 32 characters"),
        ("z" * 64, "has 64 characters"),
        ("passwordpasswordpasswordpasswordpasswordpas$", "has 44 characters"),
        ("0" * 64, "is not random"),
        ("ab" * 32, "is not random"),
    ],
)
def test_bad_key_is_refused_without_being_quoted(text: str, message: str) -> None:
    with pytest.raises(VaultKeyError, match=message) as refused:
        key_from(text)

    assert refused.value.__cause__ is None
    if len(text) > 4:
        assert text not in str(refused.value)


def test_key_is_in_no_repr_and_no_pickle() -> None:
    key = key_from(KEY)

    for shown in (repr(key), str(key), f"{key}", repr(SEALER), repr(vars(SEALER).keys())):
        assert KEY[:8] not in shown
        assert repr(SECRET[:4])[2:-1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_every_use_has_a_key_of_its_own() -> None:
    key = VaultKey(SECRET)
    made = [key.subkey(purpose) for purpose in ("texts", "match keys", "check value")]

    assert len({SECRET, *made}) == 4
    assert made == [VaultKey(SECRET).subkey(purpose) for purpose in ("texts", "match keys", "check value")]
    assert len(SEALER.pepper) == 32
    assert SEALER.check not in SEALER.pepper


@given(texts, texts, texts)
def test_text_opens_in_its_place(identifier: str, attribute: str, text: str) -> None:
    sealed = SEALER.seal(identifier, attribute, 7, text)

    assert sealed[:3] == (identifier, attribute, 7)
    assert sealed.sealed is not None
    assert SEALER.open(identifier, attribute, sealed.sealed) == text


@given(st.data())
def test_text_opens_in_no_other_place(data: st.DataObject) -> None:
    place = data.draw(st.tuples(texts, texts))
    other = data.draw(st.tuples(texts, texts).filter(lambda drawn: drawn != place) | st.just((place[0] + "a", "b")))
    sealed = SEALER.seal(*place, 0, "secret").sealed
    assert sealed is not None

    if other != place:
        with pytest.raises(ValueError, match="is not what was sealed"):
            SEALER.open(*other, sealed)


def test_letters_cannot_move_between_identifier_and_attribute() -> None:
    sealed = SEALER.seal("c:1", "name", 0, "Ann").sealed
    assert sealed is not None

    with pytest.raises(ValueError, match="is not what was sealed"):
        SEALER.open("c:1n", "ame", sealed)


@given(st.integers(0, 40), st.integers(1, 255))
def test_changed_byte_is_noticed(place: int, change: int) -> None:
    sealed = bytearray(SEALER.seal("c:1", "name", 0, "Anna Canaria").sealed or b"")
    sealed[place % len(sealed)] ^= change

    with pytest.raises(ValueError, match="sealed"):
        SEALER.open("c:1", "name", bytes(sealed))


def test_same_text_is_sealed_differently_each_time() -> None:
    assert len({SEALER.seal("c:1", "name", 0, "Ann").sealed for _ in range(100)}) == 100


def test_another_key_opens_nothing() -> None:
    other = VaultSealer(key_from(KEY[::-1]))
    sealed = SEALER.seal("c:1", "name", 0, "Anna Canaria").sealed
    assert sealed is not None

    assert other.check != SEALER.check
    with pytest.raises(ValueError, match="with this key"):
        other.open("c:1", "name", sealed)
    with pytest.raises(ValueError, match="sealed"):
        SEALER.open("c:1", "name", b"")
