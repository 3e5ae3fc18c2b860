import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.matching import Form, MatchPart, MatchRule
from server.input.matching import KEY_BYTES, MAX_CHARACTERS, key_of, match_key, normalise

PEPPER = b"a secret of thirty-two bytes ...."
RULE = MatchRule("name-date", (MatchPart("name", Form.NAME), MatchPart("birth", Form.DATE)))
PERSON = {"name": "Zoë O'Brien", "birth": "1984-05-03"}


@pytest.mark.parametrize(
    ("form", "text", "normal"),
    [
        (Form.EMAIL, " Ann.Smith+news@Mail.Example.org ", "ann.smith@mail.example.org"),
        (Form.PHONE, "+44 (0)20 7946 0958", "079460958"),
        (Form.PHONE, "020 7946 0958 ext. 12", "079460958"),
        (Form.PHONE, "\u0660\u0662\u0660 \u0667\u0669\u0664\u0666 0958", "079460958"),  # Arabic-Indic digits
        (Form.IDENTIFIER, "LC-0042 17", "lc004217"),
        (Form.NAME, "Dr. Seán O\u2019Brien-Łukasz, 2nd Bt.", "seanobrienlukasz"),
        (Form.NAME, "ＳＴＲＡＵＳＳ", "strauss"),  # noqa: RUF001 - full width
        (Form.NAME, "Strauß", "strauss"),
        (Form.WORDS, "Smith, Mary Ann", "ann smith"),
        (Form.WORDS, "Ann Mary Smith", "ann smith"),
        (Form.SOUNDS, "Rupert J. Ashcroft", "A261 R163".lower()),
        (Form.SOUNDS, "Ashcraft Robert", "A261 R163".lower()),
        (Form.LAST_SOUND, "John Tymczak", "t522"),
        (Form.DATE, "1984-05-03T00:00:00", "19840503"),
        (Form.DATE, "1984/5/3", "19840503"),
        (Form.DATE, "19840503", "19840503"),
        (Form.YEAR, "1984-85-03", "1984"),
        (Form.MONTH_DAY, "19840503", "0503"),
        (Form.POSTCODE, "sw1a 2aa", "sw1a2aa"),
        (Form.POSTCODE, "12345-6789", "12345"),
        (Form.POSTCODE_UNIT, "SW1A 2AA", "sw1a2aa"),
        (Form.POSTCODE_UNIT, "12345-6789", "123456789"),
        (Form.TEXT, "St. John's  Wood", "stjohnswood"),
        (Form.TEXT, "007", "7"),
    ],
)
def test_spellings_have_one_normal_form(form: Form, text: str, normal: str) -> None:
    assert normalise(text, form) == normal


@pytest.mark.parametrize(
    ("name", "code"),
    [("Robert", "r163"), ("Rubin", "r150"), ("Ashcraft", "a261"), ("Pfister", "p236"), ("Honeyman", "h555")],
)
def test_sounds_are_those_of_the_national_archives(name: str, code: str) -> None:
    assert normalise(name, Form.SOUND) == code


@pytest.mark.parametrize(
    ("form", "text"),
    [
        *((form, text) for form in Form for text in ("", "  ", "-", "Unknown", "N/A", "null", "x" * 300, "\ud800")),
        (Form.EMAIL, "no-reply@shop.example"),
        (Form.EMAIL, "ann@localhost"),
        (Form.EMAIL, "two@signs@shop.example"),
        (Form.PHONE, "000000000"),
        (Form.PHONE, "123456789"),
        (Form.PHONE, "1234"),
        (Form.IDENTIFIER, "0000"),
        (Form.IDENTIFIER, "a1"),
        (Form.NAME, "xxx"),
        (Form.NAME, "1234"),
        (Form.NAME, "Mr"),
        (Form.SOUNDS, "Smith"),
        (Form.WORDS, "Mr Smith"),
        (Form.DATE, "1900-01-01"),
        (Form.DATE, "1984-02-30"),
        (Form.DATE, "03.05.1984"),
        (Form.DATE, "1984503"),
        (Form.YEAR, "1900-01-01 00:00:00"),
        (Form.YEAR, "198"),
        (Form.MONTH_DAY, "1984-01-01"),
        (Form.POSTCODE, "0000"),
        (Form.POSTCODE_UNIT, "80331"),
        (Form.POSTCODE_UNIT, "D-80331"),
        (Form.TEXT, "000"),
    ],
)
def test_values_that_identify_nobody_have_no_normal_form(form: Form, text: str) -> None:
    assert normalise(text, form) == ""


def test_first_takes_the_beginning_of_the_normal_form() -> None:
    assert normalise(" É. Brun", Form.NAME, 1) == "e"


def test_people_who_agree_in_every_part_share_a_key() -> None:
    key = match_key(RULE, PERSON, PEPPER)

    assert key is not None
    assert len(key) == KEY_BYTES
    assert key == match_key(RULE, {"name": "ZOE OBRIEN", "birth": "19840503", "email": "z@shop.example"}, PEPPER)


@pytest.mark.parametrize("change", [{"name": "Zoë Brien"}, {"birth": "1984-05-04"}])
def test_people_who_differ_in_a_part_share_no_key(change: dict[str, str]) -> None:
    assert match_key(RULE, PERSON | change, PEPPER) != match_key(RULE, PERSON, PEPPER)


@pytest.mark.parametrize("values", [{}, {"name": "Zoë"}, PERSON | {"birth": "unknown"}])
def test_a_missing_part_leaves_no_key(values: dict[str, str]) -> None:
    assert match_key(RULE, values, PEPPER) is None


def test_keys_of_other_rules_and_peppers_never_agree() -> None:
    keys = {
        match_key(RULE, PERSON, PEPPER),
        match_key(MatchRule("other", RULE.parts), PERSON, PEPPER),
        match_key(RULE, PERSON, PEPPER[::-1]),
    }

    assert len(keys) == 3


@pytest.mark.parametrize("size", [0, 15, 65])
def test_a_pepper_of_the_wrong_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        match_key(RULE, PERSON, bytes(size))


@given(st.text("abcxyzéßøñåčΩя", min_size=2, max_size=12), st.sampled_from([str.upper, str.title, str.swapcase]))
def test_a_key_ignores_case_accents_and_spacing(name: str, change: object) -> None:
    rule = MatchRule("name", (MatchPart("name", Form.NAME),))
    assert callable(change)
    decomposed = unicodedata.normalize("NFD", name)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))

    keys = {
        match_key(rule, {"name": text}, PEPPER) for text in (name, change(name), bare, f"\t{name[0]} {name[1:]}\u200b")
    }

    assert len(keys) == 1


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_different_parts_never_run_together_to_one_key(one: list[str], other: list[str]) -> None:
    one, other = ([text.encode("utf-8", "replace").decode() for text in texts] for texts in (one, other))

    assert (key_of("rule", one, PEPPER) == key_of("rule", other, PEPPER)) == (one == other)


@given(st.text(max_size=MAX_CHARACTERS + 8), st.sampled_from(Form))
def test_any_text_has_a_normal_form_or_none(text: str, form: Form) -> None:
    normal = normalise(text, form)

    assert normal == "" or normal.strip() == normal
    normal.encode()
