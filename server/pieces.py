"""A compiled catalog as bytes in pieces, so that the loop which takes it in can do something else in between.

A catalog of thousands of offers is some thirty microseconds of unpickling for each: as one pickle that would hold up
every ranking for as long as the whole takes. What there is of each offer is pickled a few at a time, and the rest
refers to it by its number.
"""

import io
import pickle
from collections.abc import Iterator, Sequence

from server.domain.decision import Shown
from server.domain.offer import Creative, Offer
from server.execution.compile import Compilation
from server.execution.compiled import CompiledCatalog
from server.intelligence.content import CompiledContent

MANY = 40
"""Objects in a piece: somewhat less than a millisecond."""

_KINDS = (Offer, Creative, Shown, CompiledContent)


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
    numbers: dict[int, int] = {}
    pieces = []
    for many in [] if compilation.catalog is None else _of_offers(compilation.catalog):
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


def _of_offers(catalog: CompiledCatalog) -> Iterator[list[object]]:
    """What there is of each offer, a few at a time; each refers only to what came before."""
    offers, columns = catalog.offers.offers, catalog.creatives.columns.values()
    yield from _split([creative for offer in offers for creative in offer.creatives])
    yield from _split(offers)
    yield from _split([shown for column in columns for shown in column.shown])
    yield from _split([content for column in columns for content in column.contents])


def _split(objects: Sequence[object]) -> Iterator[list[object]]:
    """A few at a time, each object once."""
    distinct = list({id(each): each for each in objects}.values())
    for start in range(0, len(distinct), MANY):
        yield distinct[start : start + MANY]


def _dumps(content: object, numbers: dict[int, int]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, numbers).dump(content)
    return file.getvalue()
