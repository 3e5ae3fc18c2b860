"""Ids: of customers, placements, offers, sources and requests."""

import re

from server.domain.errors import invalid_field

ID_PATTERN = r"[A-Za-z0-9._:@/+=-]{1,128}"

_is_id = re.compile(ID_PATTERN).fullmatch
_is_name = re.compile(r"[A-Za-z0-9_.#-]{1,64}").fullmatch


def is_identifier(text: str) -> bool:
    """Whether the text is 1 to 128 bytes of `[A-Za-z0-9._:@/+=-]`."""
    return _is_id(text) is not None


def require_identifier(field: str, text: str) -> None:
    """Raises the INVALID_FIELD error for `field` unless the text is an id.

    The text itself stays out of the error: it may identify a person.
    """
    if _is_id(text) is not None:
        return
    if not text:
        raise invalid_field(field, "is required")
    size = len(text.encode())
    if size > 128:
        raise invalid_field(field, f"is {size} bytes long; an id has at most 128")
    raise invalid_field(field, "has characters outside [A-Za-z0-9._:@/+=-]")


def shown_name(name: str) -> str:
    """A field's name that a caller gave, as an error may repeat it.

    One that does not look like the name of an attribute may be anything, an address among others, and is left out.
    """
    return name if _is_name(name) is not None else "…"
