"""Turns attributes into match keys: values to normal forms, normal forms to one keyed hash for each rule.

The keys are all that is kept of an attribute that only serves to recognise a person, so they are hashed with a secret:
without the pepper nobody can try out names and dates of birth against them.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from hashlib import blake2b

from server.domain.matching import Form, MatchRule

MAX_CHARACTERS = 256
"""Longer values have no normal form: no name, address or number is that long, and cutting would make some equal."""

KEY_BYTES = 16

_PEPPER_BYTES = range(16, 65)
_PHONE_DIGITS = range(7, 17)
_SHARED_DIGITS = 9
_COUNTING = "01234567890123456789"

_UNKNOWN = frozenset(
    {"unknown", "unk", "not known", "none", "null", "nil", "nan", "undefined", "undisclosed", "missing", "empty"}
    | {"n/a", "n.a.", "#n/a", "n/k", "not available", "not applicable", "not provided", "not given", "not stated"}
    | {"no name", "anonymous", "test", "tbc", "tbd"}
)
_UNKNOWN_DAYS = frozenset({"00010101", "19000101", "19700101", "99991231"})
_HONORIFICS = frozenset(
    {"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "professor", "rev", "reverend", "hon", "sir", "dame", "lord"}
    | {"lady", "baronet", "bt", "esq", "jr", "sr"}
)
_ROLES = frozenset(
    {"abuse", "accounts", "admin", "billing", "contact", "enquiries", "hello", "help", "hostmaster", "info", "mail"}
    | {"marketing", "noc", "noemail", "noreply", "office", "postmaster", "root", "sales", "security", "service"}
    | {"support", "team", "webmaster"}
)

# Letters that Unicode does not take apart into a base letter and a mark, and the signs that people type for "'".
_BASE_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ł": "l", "ŧ": "t", "þ": "th"}
)
_APOSTROPHES = str.maketrans("", "", "'`\u00b4\u02b9\u02bb\u02bc\u02be\u02bf\u2018\u2019\u201b\u2032")
_SOUND_CODES = {
    letter: code
    for code, letters in zip("123456", ("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), strict=True)
    for letter in letters
}

_email = re.compile(r"([^@\s]+)@([^@\s]+\.[^@\s.]+)").fullmatch
_extension = re.compile(r"(?:;|,|#|e?x).*", re.DOTALL)
_ordinal = re.compile(r"\d+(?:st|nd|rd|th)").fullmatch
_date = re.compile(r"(\d{4})(?:([-/. ])(\d{1,2})\2(\d{1,2})|(\d\d)(\d\d))(?:[t ].*)?").fullmatch
_zip_plus_four = re.compile(r"(\d{5})-?\d{4}").fullmatch
_unit = re.compile(
    r"[a-z]{1,2}\d[a-z\d]?\d[a-z]{2}"  # Britain
    r"|[a-z]\d[a-z]\d[a-z]\d"  # Canada
    r"|[a-z]\d[\dw][a-z\d]{4}"  # Ireland
    r"|\d{4}[a-z]{2}"  # the Netherlands
    r"|\d{9}"  # ZIP+4
).fullmatch


def normalise(text: str, form: Form, first: int | None = None) -> str:
    """A value's normal form, or the `first` characters of it; empty if the value is of no use for matching."""
    if len(text) > MAX_CHARACTERS:
        return ""
    folded = _fold(text)
    if folded in _UNKNOWN:
        return ""
    return _NORMAL_FORMS[form](folded)[:first]


def match_key(rule: MatchRule, values: Mapping[str, str], pepper: bytes) -> bytes | None:
    """The key that identifiers share if they agree in every part of a rule; None unless every part has a value.

    `pepper` is a secret of 16 to 64 bytes; keys made with another one never agree.

    Raises:
        ValueError: the pepper is too short or too long.
    """
    forms = [normalise(values.get(part.attribute, ""), part.form, part.first) for part in rule.parts]
    return key_of(rule.id, forms, pepper) if all(forms) else None


def key_of(rule_id: str, forms: Iterable[str], pepper: bytes) -> bytes:
    """The key of a rule's parts that are in their normal forms already."""
    if len(pepper) not in _PEPPER_BYTES:
        raise ValueError("a pepper has 16 to 64 bytes")
    digest = blake2b(digest_size=KEY_BYTES, key=pepper, person=b"match-key")
    for text in (rule_id, *forms):
        encoded = text.encode()
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.digest()


def _fold(text: str) -> str:
    if text.isascii():
        return " ".join(text.lower().split())
    # Casefolding may bring marks back and taking apart may bring capitals back, so each is done twice.
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(map(_plain, text)).translate(_BASE_LETTERS).split())


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    # Marks with a combining class are accents; those without one are vowels of Indic scripts. Cf is invisible.
    return "" if unicodedata.combining(character) or category in ("Cf", "Cs") else character


def _words(folded: str) -> list[str]:
    bare = folded.translate(_APOSTROPHES)
    return "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in bare).split()


def _name_words(folded: str) -> list[str]:
    words = [word for word in _words(folded) if word not in _HONORIFICS and not _ordinal(word)]
    letters = "".join(words)
    # "xxx" and "00" are not names.
    return words if re.search(r"[^\d]", letters) and (len(letters) < 3 or len(set(letters)) > 1) else []


def _to_email(folded: str) -> str:
    match = _email(folded)
    local = match[1].partition("+")[0] if match else ""
    if match is None or not local or local.replace("-", "") in _ROLES | _UNKNOWN:
        return ""
    return f"{local}@{match[2]}"


def _to_phone(folded: str) -> str:
    digits = re.sub(r"\D", "", _extension.sub("", folded))
    if len(digits) not in _PHONE_DIGITS or len(set(digits[-6:])) == 1 or digits in _COUNTING:
        return ""
    return digits[-_SHARED_DIGITS:]


def _to_identifier(folded: str) -> str:
    letters = "".join(_words(folded))
    return letters if len(letters) >= 4 and len(set(letters)) > 1 else ""


def _to_name(folded: str) -> str:
    return "".join(_name_words(folded))


def _to_sound(folded: str) -> str:
    return _soundex(_to_name(folded))


def _to_last_sound(folded: str) -> str:
    return _soundex("".join(_name_words(folded)[-1:]))


def _to_sounds(folded: str) -> str:
    return _both(map(_soundex, _outer_words(folded)))


def _to_words(folded: str) -> str:
    return _both(_outer_words(folded))


def _outer_words(folded: str) -> list[str]:
    words = _name_words(folded)
    return [words[0], words[-1]] if len(words) > 1 else []


def _both(parts: Iterable[str]) -> str:
    ordered = sorted(parts)
    return " ".join(ordered) if all(ordered) else ""


def _soundex(word: str) -> str:
    letters = re.sub(r"[^a-z]", "", word)
    code, last = "", ""
    for letter in letters:
        sound = _SOUND_CODES.get(letter, "")
        code += sound if sound != last else ""
        # A vowel between two letters of one sound keeps them apart; h and w do not.
        last = last if letter in "hw" else sound
    if letters and letters[0] in _SOUND_CODES:
        code = code[1:]
    return (letters[0] + code + "000")[:4] if letters else ""


def _to_date(folded: str) -> str:
    match = _date(folded)
    if match is None:
        return ""
    try:
        day = date(int(match[1]), int(match[3] or match[5]), int(match[4] or match[6]))
    except ValueError:
        return ""
    compact = f"{day:%Y%m%d}".zfill(8)
    return "" if compact in _UNKNOWN_DAYS else compact


def _to_year(folded: str) -> str:
    match = re.match(r"(?:1\d|20)\d\d(?!\d)|(?:1\d|20)\d\d(?=\d{4}$)", folded)
    return match[0] if match and re.sub(r"\D", "", folded)[:8] not in _UNKNOWN_DAYS else ""


def _to_month_day(folded: str) -> str:
    month_day = _to_date(folded)[4:]
    return "" if month_day == "0101" else month_day


def _to_postcode(folded: str) -> str:
    match = _zip_plus_four(folded)
    letters = match[1] if match else "".join(_words(folded))
    return letters if 3 <= len(letters) <= 10 and re.search(r"[1-9]", letters) else ""


def _to_postcode_unit(folded: str) -> str:
    letters = "".join(_words(folded))
    return letters if _unit(letters) else ""


def _to_text(folded: str) -> str:
    return "".join(_words(folded)).lstrip("0")


_NORMAL_FORMS: Mapping[Form, Callable[[str], str]] = {
    Form.EMAIL: _to_email,
    Form.PHONE: _to_phone,
    Form.IDENTIFIER: _to_identifier,
    Form.NAME: _to_name,
    Form.SOUND: _to_sound,
    Form.LAST_SOUND: _to_last_sound,
    Form.SOUNDS: _to_sounds,
    Form.WORDS: _to_words,
    Form.DATE: _to_date,
    Form.YEAR: _to_year,
    Form.MONTH_DAY: _to_month_day,
    Form.POSTCODE: _to_postcode,
    Form.POSTCODE_UNIT: _to_postcode_unit,
    Form.TEXT: _to_text,
}
