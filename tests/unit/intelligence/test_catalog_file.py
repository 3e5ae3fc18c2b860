import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from server.domain.attribute import AttributeType
from server.domain.contact import ContactKind
from server.domain.offer import Creative
from server.intelligence.catalog_file import read_catalog
from tests.support.catalogs import catalog_document, catalog_text, offer_entry, placement_entry, text_of


def problems(text: str) -> dict[str, str]:
    return {problem.path: problem.description for problem in read_catalog(text)[1]}


def test_whole_catalog_is_read() -> None:
    text = """
currency: USD
description: for a test
assumptions: {margin: {grocery: 0.3}}
attributes:
  - {id: tier, type: category, values: [basic, gold]}
  - {id: spend, type: number, by: department, keys: [grocery], purpose: personalization}
context:
  - {id: hour, type: number}
offers:
  - id: coupon-1
    tactic: discount
    value: {revenue: 12.4, margin: 0.5, cost: 1}
    attributes: {department: grocery, level: 2, promo: true, tags: [a, b]}
    eligible: customer.tier == "gold"
    schedule: {start: 2017-08-01, end: 2017-09-30T12:00:00+02:00}
    channels: [web]
    creatives: [{id: c1, channel: web, locale: de, content: {title: Hallo}}]
placements:
  - {id: home, channel: [web, email], slots: 2, model: m/1, fallback_offers: [coupon-1], deadline: 0.15s,
     enabled: false}
"""
    catalog, found = read_catalog(text)

    assert not found
    assert catalog.currency == "USD"
    tier, spend = catalog.attributes
    assert (tier.type, tier.values) == (AttributeType.CATEGORY, ("basic", "gold"))
    assert (spend.by, spend.keys, spend.purpose) == ("department", ("grocery",), "personalization")
    (coupon,) = catalog.offers
    assert coupon.attributes == {"department": "grocery", "level": 2.0, "promo": True, "tags": ("a", "b")}
    assert coupon.value.profit == pytest.approx(5.2)
    assert coupon.start == datetime(2017, 8, 1, tzinfo=UTC)
    assert coupon.end == datetime(2017, 9, 30, 12, tzinfo=timezone(timedelta(hours=2)))
    assert coupon.creatives == (Creative("c1", "web", "de", {"title": "Hallo"}),)
    (home,) = catalog.placements
    assert (home.channels, home.slots, home.model, home.enabled) == (("web", "email"), 2, "m/1", False)
    assert (home.fallback_offers, home.deadline_ms) == (("coupon-1",), 150.0)


def test_json_and_yaml_say_the_same() -> None:
    document = catalog_document([offer_entry("a", attributes={"level": 2})])

    from_yaml, from_json = read_catalog(text_of(document)), read_catalog(json.dumps(document))

    assert from_yaml[1] == from_json[1] == []
    assert from_yaml[0].offers == from_json[0].offers
    assert from_yaml[0].attributes == from_json[0].attributes


def test_etag_follows_the_text() -> None:
    assert read_catalog(catalog_text())[0].etag == read_catalog(catalog_text())[0].etag
    assert read_catalog(catalog_text())[0].etag != read_catalog(catalog_text() + "\n")[0].etag


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"value": {"revenue": -1, "margin": 0.5}}, "offers[0].value.revenue", "greater than or equal to 0"),
        ({"value": {"revenue": 1, "margin": 1.5}}, "offers[0].value.margin", "less than or equal to 1"),
        ({"value": {"revenue": float("nan"), "margin": 1}}, "offers[0].value.revenue", "finite number"),
        ({"value": {"revenue": "12", "margin": 1}}, "offers[0].value.revenue", "valid number"),
        ({"value": {"revenue": 1}}, "offers[0].value.margin", "required"),
        ({"id": "a b"}, "offers[0].id", "match pattern"),
        ({"id": ""}, "offers[0].id", "match pattern"),
        ({"id": 7}, "offers[0].id", "valid string"),
        ({"tactic": ""}, "offers[0].tactic", "at least 1"),
        ({"schedule": {"start": "tomorrow"}}, "offers[0].schedule.start", "is not a date"),
        ({"schedule": {"begin": "2020-01-01"}}, "offers[0].schedule.begin", "not a key of the catalog format"),
        ({"creatives": [{"id": "c"}]}, "offers[0].creatives[0].channel", "required"),
        ({"creatives": [{"id": "c", "channel": "web", "content": {"a b": "x"}}]}, "offers[0].creatives[0].content", ""),
        ({"caps": [{"count": 1}]}, "offers[0].caps[0].window", "required"),
        ({"caps": [{"count": 0, "window": "1d"}]}, "offers[0].caps[0].count", "greater than or equal to 1"),
        ({"caps": [{"count": 1, "window": "1w"}]}, "offers[0].caps[0].window", "is not a duration"),
        ({"caps": [{"count": 1, "window": "401d"}]}, "offers[0].caps[0].window", "less than or equal to"),
        ({"caps": [{"count": 1, "window": "1d", "on": "view"}]}, "offers[0].caps[0].on", "'impression'"),
        ({"caps": [{"count": 1, "window": "1d", "per": "store"}]}, "offers[0].caps[0].per", "'household'"),
        ({"cooldown": "soon"}, "offers[0].cooldown.window", "is not a duration"),
        ({"exclusion_group": "a b"}, "offers[0].exclusion_group", "match pattern"),
        ({"colour": "red"}, "offers[0].colour", "not a key of the catalog format"),
    ],
)
def test_offer_with_a_problem_is_named_with_its_path(change: dict[str, object], path: str, words: str) -> None:
    found = problems(catalog_text([offer_entry("a") | change]))

    matching = [description for place, description in found.items() if place.startswith(path)]
    assert matching
    assert words in matching[0]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"slots": 0}, "placements[0].slots"),
        ({"slots": 101}, "placements[0].slots"),
        ({"slots": 1.5}, "placements[0].slots"),
        ({"channel": []}, "placements[0].channel"),
        ({"model": "no-version"}, "placements[0].model"),
        ({"deadline": "150"}, "placements[0].deadline"),
        ({"deadline": "0ms"}, "placements[0].deadline"),
        ({"objective": "clicks"}, "placements[0].objective"),
        ({"max_per_group": 0}, "placements[0].max_per_group"),
        ({"diversity": [{"by": "department", "max": 0}]}, "placements[0].diversity[0].max"),
    ],
)
def test_placement_with_a_problem_is_named_with_its_path(change: dict[str, object], path: str) -> None:
    found = problems(catalog_text(placements=[placement_entry() | change]))

    assert [place for place in found if place.startswith(path)]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("", "catalog", "must be a mapping"),
        ("- a", "catalog", "must be a mapping"),
        ("just a text", "catalog", "must be a mapping"),
        ("offers: []", "currency", "required"),
        ("currency: usd", "currency", "match pattern"),
        ("currency: USD\noffers: {a: 1}", "offers", "must be a list"),
        ("currency: USD\nrules: [{id: r, effect: vanish}]", "rules[0].effect", "valid dictionary"),
        ("currency: USD\nrules: [{id: r, effect: {}}]", "rules[0].effect", "one of boost, cap and pin"),
        ("currency: USD\nrules: [{id: r, effect: {boost: 0}}]", "rules[0].effect.boost", "greater than 0"),
        ("currency: USD\nrules: [{id: r, effect: {cap: {count: 1}}}]", "rules[0].effect.cap.window", "required"),
        ("currency: USD\nbudgets: [{id: b, limit: -1}]", "budgets[0].limit", "greater than or equal to 0"),
        ("currency: USD\nlevers: [{id: l, multiplier: -2}]", "levers[0].multiplier", "greater than 0"),
        ("currency: USD\nquiet_hours: [{id: q, from: 9, to: 9}]", "quiet_hours[0]", "are the same"),
        ("currency: USD\nquiet_hours: [{id: q, from: '25:00', to: '08:00'}]", "quiet_hours[0].from", "time of day"),
        ("currency: USD\nchannels: [{id: sms, content: pdf}]", "channels[0].content", "'html'"),
        ("currency: USD\ncontacts: {hold: 3 minutes}", "contacts.hold", "is not a duration"),
        ("currency: USD\nproducts: {}", "products", "not supported by this version"),
        ("currency: USD\nexperiments: []", "experiments", "not supported by this version"),
        ("currency: USD\naggregates: {}", "aggregates", "must be a list"),
        ("currency: USD\nidentity: []", "identity", "dictionary"),
        ("currency: USD\ncolour: red", "colour", "not a key"),
        ("currency: USD\ncurrency: EUR", "catalog", "stands twice"),
        ('{"currency": "USD", "currency": "EUR"}', "catalog", "stands twice"),
        ("currency: &a USD\ndescription: *a", "catalog", "aliases are not allowed"),
        ("currency: [", "catalog", "cannot be read"),
        ('{"currency": ', "catalog", "cannot be read"),
        ("currency: !!python/name:os.system", "catalog", "cannot be read"),
        ('{"a":' * 5_000, "catalog", "nests too deeply"),
    ],
)
def test_text_that_is_not_a_catalog_is_refused(text: str, path: str, words: str) -> None:
    assert words in problems(text)[path]


def test_id_that_is_taken_is_a_problem_in_every_section() -> None:
    document = catalog_document([offer_entry("a"), offer_entry("b"), offer_entry("a")])
    document["attributes"] = [{"id": "x", "type": "number"}] * 2
    document["context"] = [{"id": "x", "type": "number"}] * 2
    document["placements"] = [placement_entry()] * 2

    assert {path for path, words in problems(text_of(document)).items() if "already taken" in words} == {
        "offers[2].id", "attributes[1].id", "context[1].id", "placements[1].id",
    }  # fmt: skip


def test_offer_that_cannot_be_read_leaves_the_paths_of_later_ones_right() -> None:
    catalog, _ = read_catalog(catalog_text([{"id": "broken"}, offer_entry("fine")]))

    assert [each.id for each in catalog.offers] == ["offers[0]", "fine"]


def test_all_problems_are_listed_at_once() -> None:
    text = catalog_text([offer_entry("a") | {"tactic": ""}, offer_entry("b") | {"id": "?"}], currency="dollars")

    assert problems(text).keys() >= {"offers[0].tactic", "offers[1].id", "currency"}


def test_billion_laughs_are_refused_before_they_are_told() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "aliases are not allowed" in problems("\n".join(lines))["catalog"]


@pytest.mark.parametrize("scalar", ["!!timestamp x", "!!bool x", "!!int ''"])
def test_scalar_that_is_not_what_its_tag_says_is_refused(scalar: str) -> None:
    assert "cannot be read" in problems(f"currency: USD\ndescription: {scalar}")["catalog"]


@pytest.mark.parametrize("section", ["{}", "false", "0", "''"])
def test_section_that_is_not_a_list_is_refused_even_if_empty(section: str) -> None:
    assert "must be a list" in problems(f"currency: USD\noffers: {section}")["offers"]


def test_empty_mapping_is_not_a_catalog() -> None:
    assert "required" in problems("{}")["currency"]


@pytest.mark.parametrize("field", ["eligible", "tactic"])
def test_half_a_character_is_refused_where_it_stands(field: str) -> None:
    offer = {"id": "a", "tactic": "t", "value": {"revenue": 1, "margin": 1}} | {field: "\ud800"}

    _, problems = read_catalog(json.dumps({"currency": "USD", "offers": [offer], "placements": []}))

    assert [problem.path for problem in problems] == [f"offers[0].{field}"]


def test_only_true_and_false_are_truth_values() -> None:
    text = catalog_text([offer_entry("a", caps=[{"count": 1, "window": "1d", "on": "click"}])]).replace("'on'", "on")
    assert "\n    on: click" in text

    catalog, problems = read_catalog(text + "description: no\n")

    assert problems == []
    assert catalog.offers[0].caps[0].on is ContactKind.CLICK
