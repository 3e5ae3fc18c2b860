"""A compiled catalog as bytes in pieces, so that the loop which takes it in can do something else in between.

A catalog of thousands of offers is some twenty microseconds of unpickling for each: as one pickle that would hold up
every ranking for as long as the whole takes. Offers and creatives, of which there are many, are pickled a few at a
time, and the rest refers to them by their numbers.
"""

import io
import pickle
from collections.abc import Iterator, Sequence

from server.domain.offer import Creative, Offer
from server.execution.compile import Compilation

MANY = 40
"""Offers or creatives in a piece: somewhat less than a millisecond."""

_KINDS = (Offer, Creative)


class _Pickler(pickle.Pickler):
    """Says of what is in earlier pieces only its number."""

    def __init__(self, file: io.BytesIO, numbers: dict[int, int]) -> None:
        super().__init__(file)
        self._numbers = numbers

    def persistent_id(self, obj: object) -> int | None:
        """See `pickle.Pickler`."""
        return self._numbers.get(id(obj)) if type(obj) in _KINDS else None


class _Unpickler(pickle.Unpickler):
    """Finds what is in earlier pieces by its number."""

    def __init__(self, file: io.BytesIO, found: Sequence[object]) -> None:
        super().__init__(file)
        self._found = found

    def persistent_load(self, number: int) -> object:
        """See `pickle.Unpickler`."""
        return self._found[number]


def pack(compilation: Compilation) -> list[bytes]:
    """The pieces; the last one is the compilation itself."""
    offers = [] if compilation.catalog is None else list(compilation.catalog.offers.offers)
    creatives = [creative for offer in offers for creative in offer.creatives]
    numbers: dict[int, int] = {}
    pieces = []
    for many in (*_split(creatives), *_split(offers)):
        pieces.append(_dumps(many, numbers))
        for each in many:
            numbers.setdefault(id(each), len(numbers))
    return [*pieces, _dumps(compilation, numbers)]


def unpack(pieces: Sequence[bytes]) -> Iterator[Compilation | None]:
    """Takes in a piece at each step; what the last one gives is the compilation."""
    found: list[object] = []
    for piece in pieces[:-1]:
        many: list[object] = _Unpickler(io.BytesIO(piece), found).load()
        found += many
        yield None
    compilation: Compilation = _Unpickler(io.BytesIO(pieces[-1]), found).load()
    yield compilation


def _split(objects: Sequence[object]) -> Iterator[list[object]]:
    """A few at a time, each object once."""
    distinct = list({id(each): each for each in objects}.values())
    for start in range(0, len(distinct), MANY):
        yield distinct[start : start + MANY]


def _dumps(content: object, numbers: dict[int, int]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, numbers).dump(content)
    return file.getvalue()
