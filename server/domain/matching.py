"""Match rules: which attributes have to agree, and in which normal form, before two identifiers are one person.

A rule never says how alike two values are: values agree when their normal forms are equal, so that a rule is one
lookup by key. How a value becomes its normal form is `input/matching.py`'s business.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class Form(StrEnum):
    """A normal form: what is left of a value when everything that two spellings may differ in is gone.

    Every form first folds case, accents, width and invisible characters away, and refuses what stands for "unknown".
    """

    EMAIL = "email"
    """An address without its "+tag" (RFC 5233); addresses of roles such as info@ (RFC 2142) identify nobody."""

    PHONE = "phone"
    """The last nine digits, which a number has in common with and without its country and trunk prefixes."""

    IDENTIFIER = "identifier"
    """Letters and digits only, for numbers of loyalty cards, accounts and devices; at least four of them."""

    NAME = "name"
    """A name without honorifics, spaces, apostrophes and hyphens: "O'Brien" is "obrien"."""

    SOUND = "sound"
    """The American Soundex code of a name (Russell, US patent 1,261,167; the rules of the US National Archives).
    It keeps the first letter and three classes of consonants, so most slips after the first letter pass. Only Latin
    letters have codes."""

    LAST_SOUND = "last_sound"
    """The Soundex code of the last word of a full name."""

    SOUNDS = "sounds"
    """The Soundex codes of a full name's first and last word in alphabetical order: given name and surname may be
    swapped, and those between may be missing. A name of one word has none."""

    WORDS = "words"
    """A full name's first and last word in alphabetical order. A name of one word has none."""

    DATE = "date"
    """A day of the calendar written year first, with any separators or none: "1984-05-03" is "19840503". The days
    that systems write for an unknown one, such as 1900-01-01, have no normal form."""

    YEAR = "year"
    """The year of a date written year first, even if its month or day is impossible."""

    MONTH_DAY = "month_day"
    """Month and day of a date. 1 January has none: it mostly stands for "some day of that year"."""

    POSTCODE = "postcode"
    """Letters and digits of a postcode; of an American ZIP+4 only the ZIP code."""

    POSTCODE_UNIT = "postcode_unit"
    """A postcode that stands for a few dozen addresses: letters and digits as in Britain, Canada, Ireland and the
    Netherlands, or a ZIP+4. A postcode of a whole town has none."""

    TEXT = "text"
    """The letters and digits of any other text, such as a town or the number of a house."""


@dataclass(frozen=True, slots=True)
class MatchPart:
    """One attribute that has to agree, in a normal form or in the `first` characters of it."""

    attribute: str
    form: Form
    first: int | None = None


@dataclass(frozen=True, slots=True)
class MatchRule:
    """Identifiers that agree in every part are one person's."""

    id: str
    parts: tuple[MatchPart, ...]


@dataclass(slots=True)
class Groups:
    """Which of the members 0, 1, 2… are linked, directly or through others; no group outgrows `max_members`.

    A group that grows without end is not a person but a value that many people share.
    """

    count: int
    max_members: int
    refused: int = 0
    _parents: list[int] = field(init=False)
    _sizes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._parents = list(range(self.count))
        self._sizes = [1] * self.count

    def group_of(self, member: int) -> int:
        """The member that stands for this member's group."""
        parents = self._parents
        while parents[member] != member:
            # Halving the path keeps later lookups short without a second pass.
            parents[member] = parents[parents[member]]
            member = parents[member]
        return member

    def link(self, one: int, other: int) -> bool:
        """Joins the groups of two members, or counts a refusal and returns False if the result were too large."""
        large, small = self.group_of(one), self.group_of(other)
        if large == small:
            return True
        if self._sizes[large] < self._sizes[small]:
            large, small = small, large
        if self._sizes[large] + self._sizes[small] > self.max_members:
            self.refused += 1
            return False
        self._parents[small] = large
        self._sizes[large] += self._sizes[small]
        return True
