import pytest

from server.domain.offer import Creative, OfferValue
from tests.support.catalogs import offer

NEUTRAL = Creative("neutral", "web")
GERMAN = Creative("german", "web", "de")
SWISS = Creative("swiss", "web", "de-CH")
MAIL = Creative("mail", "email")


def test_profit_is_margin_of_revenue_less_cost() -> None:
    assert OfferValue(revenue=12.40, margin=0.31, cost=1.00).profit == pytest.approx(2.844)


@pytest.mark.parametrize(
    ("locale", "creative"),
    [("de-CH", SWISS), ("de-AT", GERMAN), ("de", GERMAN), ("fr", NEUTRAL), ("", NEUTRAL), ("fr-CH", NEUTRAL)],
)
def test_creative_is_of_the_locale_else_of_its_language_else_neutral(locale: str, creative: Creative) -> None:
    assert offer(creatives=(NEUTRAL, GERMAN, SWISS, MAIL)).creative_for("web", locale) is creative


def test_offer_without_a_creative_for_the_channel_has_none() -> None:
    assert offer(creatives=(NEUTRAL,)).creative_for("email", "") is None


def test_offer_kept_to_other_channels_has_no_creative() -> None:
    assert offer(channels=("email",), creatives=(NEUTRAL, MAIL)).creative_for("web", "") is None


def test_creative_of_another_language_is_not_shown() -> None:
    assert offer(creatives=(GERMAN,)).creative_for("web", "fr") is None
