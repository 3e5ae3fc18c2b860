"""What kinds of values the operands of a condition have."""

from enum import StrEnum

from server.domain.attribute import AttributeType


class Kind(StrEnum):
    """What a value may be compared and computed with. A category is a text; times are exact to the microsecond."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    CATEGORY = "category"
    SET = "set"
    TIMESTAMP = "timestamp"
    DURATION = "duration"


ORDERED = frozenset({Kind.NUMBER, Kind.TIMESTAMP, Kind.DURATION})
"""The kinds that `<` compares."""

_SUMS = {
    ("+", Kind.TIMESTAMP, Kind.DURATION): Kind.TIMESTAMP,
    ("+", Kind.DURATION, Kind.TIMESTAMP): Kind.TIMESTAMP,
    ("+", Kind.DURATION, Kind.DURATION): Kind.DURATION,
    ("-", Kind.TIMESTAMP, Kind.TIMESTAMP): Kind.DURATION,
    ("-", Kind.TIMESTAMP, Kind.DURATION): Kind.TIMESTAMP,
    ("-", Kind.DURATION, Kind.DURATION): Kind.DURATION,
}


def kind_of_type(type_: AttributeType) -> Kind:
    """What an attribute is read as; an age is read as a number of days."""
    return Kind.NUMBER if type_ is AttributeType.TIMESTAMP_AGE else Kind(type_.value)


def kind_of_result(operator: str, left: Kind, right: Kind) -> Kind | None:
    """What arithmetic makes of two kinds; None if it does not take them."""
    if left is right is Kind.NUMBER:
        return Kind.NUMBER
    return _SUMS.get((operator, left, right))
