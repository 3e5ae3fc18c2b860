"""How many elements a request may have, counted before it is read: 4 MiB of empty messages would become two million
objects, and hold the loop for a quarter of a second before anybody could look at them.
"""

from collections.abc import Mapping

from server.domain.errors import ErrorReason, OpportuneError

MAX_ELEMENTS: Mapping[str, int] = {
    "ApplyCatalog": 64,
    "BatchRankOffers": 1_024,
    "LoadProfiles": 65_536,
    "ReportOutcomes": 2_048,
}
"""By method, for requests that may be large: more than any good one has. Others are small enough to be read whole.

What a method takes exactly it checks itself, and says so by the field's name.
"""

_LENGTH_DELIMITED = 2
_FIXED_BYTES = {1: 8, 3: 0, 4: 0, 5: 4}
"""What follows the tag, by wire type. Groups (3 begins one, 4 ends it) are unknown to every message, and yet parsed."""


def require_few_elements(path: str, payload: bytes, limit: int) -> None:
    """Returns for a request that may be read.

    Raises:
        OpportuneError: REQUEST_TOO_LARGE; at most `limit` elements were looked at.
    """
    if len(payload) > 2 * limit and _has_more(payload, limit):
        message = f"the request has more than {limit:,} elements, which {path} does not take"
        raise OpportuneError(ErrorReason.REQUEST_TOO_LARGE, message, {"limit_elements": str(limit)})


def require_few(field: str, count: int, limit: int) -> None:
    """Returns for what a message holds within an element, before objects are made of it.

    Raises:
        OpportuneError: REQUEST_TOO_LARGE; what a field takes exactly is checked, and told, where it is used.
    """
    if count > limit:
        message = f"{field} has more than {limit:,} elements"
        raise OpportuneError(ErrorReason.REQUEST_TOO_LARGE, message, {"limit_elements": str(limit)})


def _has_more(payload: bytes, limit: int) -> bool:
    """Whether a message has more than so many fields. Bytes that are no message are the parser's business."""
    place, end, count = 0, len(payload), 0
    try:
        while place < end:
            if count == limit:
                return True
            count += 1
            tag, place = _varint(payload, place)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                size, place = _varint(payload, place)
                place += size
            elif kind == 0:
                _, place = _varint(payload, place)
            else:
                place += _FIXED_BYTES[kind]
    except (IndexError, KeyError):
        return False
    return False


def _varint(payload: bytes, place: int) -> tuple[int, int]:
    """A number, and where it ends."""
    byte = payload[place]
    value, shift = byte & 127, 7
    while byte > 127:
        place += 1
        byte = payload[place]
        value |= (byte & 127) << shift
        shift += 7
        if shift > 70:
            raise IndexError
    return value, place + 1
