import numpy as np

from server.domain.attribute import KEY_COLUMNS
from server.input.keys import key_name, key_words


def test_key_is_72_bits_that_a_row_holds_exactly() -> None:
    words = key_words("household-1")

    assert len(words) == KEY_COLUMNS
    assert np.array(words, np.float32).tolist() == list(words)
    assert len(key_name(words)) == 18


def test_keys_are_told_apart_and_stay_the_same() -> None:
    names = {key_name(key_words(f"household-{number}")) for number in range(10_000)}

    assert len(names) == 10_000
    assert key_name(key_words("household-1")) == key_name(key_words("household-1"))


def test_name_of_a_key_keeps_leading_zeros() -> None:
    assert key_name((1.0, 0.0, 255.0)) == "0000010000000000ff"


def test_what_was_never_set_or_may_not_be_read_has_no_name() -> None:
    nan = float("nan")

    assert key_name((nan, nan, nan)) == ""
    assert key_name((1.0, nan, 2.0)) == ""
