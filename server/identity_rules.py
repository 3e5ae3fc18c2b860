"""Match rules for files of person records: the shipped ones, over the roles of columns, and those of a YAML file."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from server.domain.catalog import Problem
from server.domain.identifier import ID_PATTERN
from server.domain.matching import Form, MatchPart, MatchRule

ROLES: Mapping[str, tuple[str, ...]] = {
    "full_name": ("full_name", "name"),
    "given_name": ("given_name", "first_name", "forename"),
    "surname": ("surname", "last_name", "family_name"),
    "birth": ("date_of_birth", "dob", "birth_date"),
    "birth_place": ("birth_place", "place_of_birth"),
    "town": ("suburb", "city", "town"),
    "postcode": ("postcode", "postcode_fake", "postal_code", "zip_code", "zip"),
    "street": ("address_1", "street", "street_name"),
    "house": ("street_number", "house_number"),
    "email": ("email", "email_address"),
    "phone": ("phone", "phone_number", "mobile"),
}
"""What a column is for, by its name. National ids are left out on purpose: few may process them."""

_INITIAL = MatchPart("full_name", Form.NAME, 1)
_START = MatchPart("full_name", Form.NAME, 3)
_SOUNDS = MatchPart("full_name", Form.SOUNDS)
_WORDS = MatchPart("full_name", Form.WORDS)
_SURNAME = MatchPart("full_name", Form.LAST_SOUND)
_YEAR = MatchPart("birth", Form.YEAR)
_DAY = MatchPart("birth", Form.MONTH_DAY)
_BIRTH_PLACE = MatchPart("birth_place", Form.TEXT)
_TOWN = MatchPart("town", Form.TEXT)
_POSTCODE = MatchPart("postcode", Form.POSTCODE)
_UNIT = MatchPart("postcode", Form.POSTCODE_UNIT)
_HOUSE = MatchPart("house", Form.TEXT)
_STREET = MatchPart("street", Form.TEXT)

# Three kinds of evidence make a person: a name, a birth, a place. A rule asks for all three where it lets a typing
# error pass in one, and for two only if each is whole. People of one household share surname and place, so a rule
# without the day of birth asks for more of the given name than its sound: John and Joan sound the same.
DEFAULT_RULES = (
    MatchRule("email", (MatchPart("email", Form.EMAIL),)),
    MatchRule("phone-name", (MatchPart("phone", Form.PHONE), _START)),
    MatchRule("sounds-date", (_SOUNDS, _YEAR, _DAY)),
    MatchRule("name-date", (_START, _SURNAME, _YEAR, _DAY)),
    MatchRule("date-unit", (_YEAR, _DAY, _UNIT)),
    MatchRule("date-house", (_YEAR, _DAY, _HOUSE, _POSTCODE)),
    MatchRule("date-street", (_YEAR, _DAY, _HOUSE, _STREET)),
    MatchRule("initial-date-postcode", (_INITIAL, _YEAR, _DAY, _POSTCODE)),
    MatchRule("surname-date-postcode", (_SURNAME, _YEAR, _DAY, _POSTCODE)),
    MatchRule("initial-date-town", (_INITIAL, _YEAR, _DAY, _TOWN)),
    MatchRule("surname-date-town", (_SURNAME, _YEAR, _DAY, _TOWN)),
    MatchRule("initial-date-origin", (_INITIAL, _YEAR, _DAY, _BIRTH_PLACE)),
    MatchRule("surname-date-origin", (_SURNAME, _YEAR, _DAY, _BIRTH_PLACE)),
    MatchRule("name-year-postcode", (_INITIAL, _SURNAME, _YEAR, _POSTCODE)),
    MatchRule("name-year-origin", (_INITIAL, _SURNAME, _YEAR, _BIRTH_PLACE)),
    MatchRule("initial-year-origin-postcode", (_INITIAL, _YEAR, _BIRTH_PLACE, _POSTCODE)),
    MatchRule("sounds-day-town", (_SOUNDS, _DAY, _TOWN)),
    MatchRule("name-day-origin", (_INITIAL, _SURNAME, _DAY, _BIRTH_PLACE)),
    MatchRule("name-origin-unit", (_INITIAL, _SURNAME, _BIRTH_PLACE, _UNIT)),
    MatchRule("name-unit", (_START, _SURNAME, _UNIT)),
    MatchRule("name-house", (_WORDS, _HOUSE, _POSTCODE)),
    MatchRule("name-street", (_WORDS, _HOUSE, _STREET)),
)
"""The shipped rules, over the roles of columns; those apply whose columns a file has."""


def read_rules(text: str) -> tuple[MatchRule, ...]:
    """The rules of a YAML text `match: [{id, parts: [{attribute, form, first}]}]`, where attributes are columns.

    Raises:
        RuntimeError: the text has problems; the message has a line for each, with its path.
    """
    try:
        # The base loader leaves every scalar a text, as names of columns are.
        entries = _RulesFile.model_validate(yaml.load(text, Loader=yaml.BaseLoader)).match
    except yaml.YAMLError as error:
        raise RuntimeError(f"match: cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise RuntimeError("\n".join(str(Problem(_path(e["loc"]), e["msg"])) for e in error.errors())) from error
    ids = Counter(entry.id for entry in entries)
    taken = [Problem("match", f"{rule_id} stands for {count} rules") for rule_id, count in ids.items() if count > 1]
    if taken:
        raise RuntimeError("\n".join(map(str, taken)))
    return tuple(
        MatchRule(entry.id, tuple(MatchPart(part.attribute, part.form, part.first) for part in entry.parts))
        for entry in entries
    )


class _PartEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    attribute: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    form: Form
    first: Annotated[int, Field(ge=1, le=64)] | None = None


class _RuleEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, StringConstraints(pattern=f"^{ID_PATTERN}$")]
    parts: Annotated[list[_PartEntry], Field(min_length=1, max_length=16)]


class _RulesFile(BaseModel):
    model_config = ConfigDict(extra="forbid")
    match: Annotated[list[_RuleEntry], Field(min_length=1, max_length=100)]


def _path(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return path.removeprefix(".") or "match"
