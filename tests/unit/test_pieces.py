"""Catalogs in pieces: what comes out is what went in, and no piece is large."""

import pickle

import pytest

from server.domain.catalog import Problem
from server.execution.compile import Compilation, compile_text
from server.pieces import MANY, pack, unpack
from tests.support.catalogs import catalog_text, offer_entry


def there_and_back(compilation: Compilation) -> Compilation:
    *nothing, last = unpack(pickle.loads(pickle.dumps(pack(compilation))))
    assert not any(nothing)
    assert last is not None
    return last


def compiled(offers: int) -> Compilation:
    return compile_text(catalog_text([offer_entry(f"offer-{n}", 1.0 + n) for n in range(offers)]), {})


@pytest.mark.parametrize("offers", [1, MANY, 3 * MANY + 1])
def test_catalog_in_pieces_is_the_same_catalog(offers: int) -> None:
    before = compiled(offers)
    assert before.catalog is not None

    after = there_and_back(before)

    assert after.catalog is not None
    assert list(after.catalog.offers.offers) == list(before.catalog.offers.offers)
    assert (after.catalog.text, after.catalog.etag) == (before.catalog.text, before.catalog.etag)
    # As in one pickle, up to how often a string is shared.
    assert pickle.loads(pickle.dumps(after.catalog)).creatives is not None
    assert repr(after.catalog.placements) == repr(before.catalog.placements)


def test_offers_are_not_in_the_last_piece() -> None:
    small, large = pack(compiled(MANY)), pack(compiled(10 * MANY))

    assert len(small) == 5
    assert len(large) == 41
    assert max(map(len, large[:-1])) < 1.2 * max(map(len, small[:-1]))


def test_problems_have_one_piece() -> None:
    compilation = Compilation(None, [Problem("offers[0]", "is wrong")])

    assert len(pack(compilation)) == 1
    assert there_and_back(compilation) == compilation
