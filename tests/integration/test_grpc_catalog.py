"""ApplyCatalog over both transports: whole or not at all."""

import asyncio
import os
import signal

import grpc
import pytest

from tests.integration.catalogs import shop, stall, text_of, warehouse
from tests.integration.connection import Connection, compiling, delta, refusal
from tests.integration.processes import children_of


async def offers_of(server: Connection) -> list[str]:
    return [offer.offer_id for offer in (await server.list_offers()).offers]


async def test_applied_catalog_serves_from_the_next_request_on(bare_server: Connection) -> None:
    before = await bare_server.apply_catalog(stall("first"))
    after = await bare_server.apply_catalog(shop())

    decision = await bare_server.rank("catalog:new")
    assert after.catalog_version == before.catalog_version + 1 == decision.catalog_version
    assert (after.offer_count, after.placement_count) == (7, 5)
    assert [offer.offer_id for offer in decision.offers] == ["welcome", "small"]
    assert after.etag != before.etag


async def test_catalog_is_also_taken_as_yaml(bare_server: Connection) -> None:
    text = """\
currency: USD
offers:
  - id: yaml-offer   # a comment
    tactic: content
    value: {revenue: 3, margin: 1}
    schedule: {start: 2017-08-01}
    creatives: [{id: c1, channel: web, content: {title: "Hi"}}]
placements:
  - {id: home, channel: web, slots: 1}
"""

    await bare_server.apply_catalog(text)

    assert await offers_of(bare_server) == ["yaml-offer"]


async def test_customers_keep_the_attributes_that_both_catalogs_declare(bare_server: Connection) -> None:
    await bare_server.apply_catalog(shop())
    await bare_server.apply_deltas(delta("catalog:kept", visits=7, tier="gold"))

    await bare_server.apply_catalog(stall())

    profile = await bare_server.profile("catalog:kept")
    assert {name: value.number_value for name, value in profile.attributes.items()} == {"visits": 7.0}


async def test_bad_catalog_is_refused_whole_with_every_problem_and_the_old_one_goes_on_serving(
    bare_server: Connection,
) -> None:
    applied = await bare_server.apply_catalog(stall("survivor"))
    bad = shop()
    bad["offers"][1]["eligible"] = 'customer.visits > 1.0 &&\n  customer.teir == "gold"'
    bad["offers"][2]["value"]["margin"] = 1.5
    bad["offers"][3]["id"] = "welcome"
    bad["attributes"][1]["values"] = []
    bad["placements"][0]["model"] = "tiny/2"
    bad["placements"][2]["fallback_offers"] = ["no-such"]
    bad["caps"] = []

    refused = await refusal(bare_server.apply_catalog(bad))

    assert (refused.code, refused.reason, refused.domain) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_CATALOG",
        "opportune",
    )
    paths = {
        "attributes[1].values",
        "offers[1].eligible",
        "offers[2].value.margin",
        "offers[3].id",
        "placements[0].model",
        "placements[2].fallback_offers[0]",
        "caps",
    }
    assert set(refused.violations) >= paths
    assert int(refused.metadata["problems"]) >= len(paths)
    assert refused.violations["offers[1].eligible"].startswith("2:3")
    assert "did you mean customer.tier" in refused.violations["offers[1].eligible"]
    assert "tiny/1" in refused.violations["placements[0].model"]
    decision = await bare_server.rank("catalog:survivor")
    assert decision.catalog_version == applied.catalog_version
    assert [offer.offer_id for offer in decision.offers] == ["survivor"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("", "catalog"),
        ("[]", "catalog"),
        ("{", "catalog"),
        ("currency: [", "catalog"),
        ("a: &x [1]\nb: *x", "catalog"),
        ("currency: USD\ncurrency: EUR", "catalog"),
        ('{"currency": "USD", "currency": "EUR"}', "catalog"),
        ("[" * 2_000, "catalog"),
        ('{"currency": ' + "[" * 100_000, "catalog"),
        ("currency: dollars", "currency"),
        ("currency: USD\noffers: 3", "offers"),
    ],
)
async def test_text_that_is_no_catalog_is_refused_with_a_path(bare_server: Connection, text: str, path: str) -> None:
    refused = await refusal(bare_server.apply_catalog(text))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CATALOG")
    assert path in refused.violations


async def test_hundreds_of_problems_are_counted_and_the_first_of_them_reach_the_client(
    bare_server: Connection,
) -> None:
    bad = stall()
    bad["offers"] = [
        {**stall()["offers"][0], "id": f"offer-{number}", "eligible": "customer.unknown_attribute > 1.0"}
        for number in range(700)
    ]

    refused = await refusal(bare_server.apply_catalog(bad))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CATALOG")
    assert refused.metadata["problems"] == "700"
    assert list(refused.violations)[:2] == ["offers[0].eligible", "offers[1].eligible"]
    assert len(refused.violations) > 10


async def test_problems_in_another_script_reach_the_client_too(bare_server: Connection) -> None:
    bad = stall()
    bad["attributes"].append({"id": "city", "type": "category", "values": ["大阪"]})
    text = "大" * 20
    bad["offers"] = [
        {**stall()["offers"][0], "id": f"offer-{number}", "eligible": f'customer.city == "{text}"'}
        for number in range(20)
    ]

    refused = await refusal(bare_server.apply_catalog(bad))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CATALOG")
    assert refused.violations


async def test_validate_only_lists_every_problem_and_changes_nothing(bare_server: Connection) -> None:
    applied = await bare_server.apply_catalog(stall("standing"))
    bad = stall()
    bad["offers"] *= 300

    listed = await bare_server.apply_catalog(bad, validate_only=True)
    clean = await bare_server.apply_catalog(shop(), validate_only=True)

    assert len(listed.problems) == 299
    assert listed.problems[0].path == "offers[1].id"
    assert listed.problems[-1].path == "offers[299].id"
    assert not clean.problems
    assert clean.catalog_version == applied.catalog_version + 1
    assert (clean.offer_count, clean.placement_count) == (7, 5)
    assert await offers_of(bare_server) == ["standing"]


async def test_etag_of_the_current_catalog_is_taken_and_a_stale_one_is_aborted(bare_server: Connection) -> None:
    first = await bare_server.apply_catalog(stall("etag-1"))

    second = await bare_server.apply_catalog(stall("etag-2"), etag=first.etag)
    stale = await refusal(bare_server.apply_catalog(stall("etag-3"), etag=first.etag))

    assert second.catalog_version == first.catalog_version + 1
    assert (stale.code, stale.reason, stale.domain) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", "opportune")
    assert stale.metadata == {"etag": second.etag}
    assert await offers_of(bare_server) == ["etag-2"]


async def test_of_two_writers_with_one_etag_one_is_aborted(bare_server: Connection) -> None:
    base = await bare_server.apply_catalog(stall("base"))

    calls = (bare_server.apply_catalog(stall(name), etag=base.etag) for name in ("left", "right"))
    answers = await asyncio.gather(*calls, return_exceptions=True)

    aborted = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert len(aborted) == 1
    assert (await bare_server.rank("catalog:race")).catalog_version == base.catalog_version + 1


async def test_repeated_request_id_answers_the_same_and_publishes_once(bare_server: Connection) -> None:
    first = await bare_server.apply_catalog(stall("repeat"), request_id="apply-repeat")
    other = await bare_server.apply_catalog(stall("other"))

    again = await bare_server.apply_catalog(stall("repeat"), request_id="apply-repeat")

    assert again == first
    assert other.catalog_version == first.catalog_version + 1
    assert await offers_of(bare_server) == ["other"]


async def test_request_id_with_another_catalog_is_a_failed_precondition(bare_server: Connection) -> None:
    await bare_server.apply_catalog(stall("reuse-1"), request_id="apply-reuse")

    refused = await refusal(bare_server.apply_catalog(stall("reuse-2"), request_id="apply-reuse"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")
    assert refused.metadata == {"request_id": "apply-reuse"}
    assert await offers_of(bare_server) == ["reuse-1"]


async def test_retry_while_the_first_attempt_compiles_publishes_once(fresh_server: Connection) -> None:
    first = await compiling(fresh_server, text_of(stall()), request_id="apply-hedge")
    second = fresh_server.apply_catalog(stall(), request_id="apply-hedge")

    answers = await asyncio.gather(first, second)

    assert [answer.catalog_version for answer in answers] == [1, 1]


@pytest.mark.parametrize("request_id", ["r" * 129, "a b"])
async def test_request_id_must_be_an_id(bare_server: Connection, request_id: str) -> None:
    refused = await refusal(bare_server.apply_catalog(stall(), request_id=request_id))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert list(refused.violations) == ["request_id"]


async def test_catalog_of_several_mebibytes_is_taken(bare_server: Connection) -> None:
    catalog = stall("heavy")
    catalog["description"] = "d" * (6 * 1024 * 1024)

    applied = await bare_server.apply_catalog(catalog)

    assert applied.offer_count == 1


async def test_ranking_goes_on_while_a_catalog_is_compiled(bare_server: Connection) -> None:
    before = await bare_server.apply_catalog(stall("meanwhile"))
    compiling = asyncio.ensure_future(bare_server.apply_catalog(warehouse(3_000)))

    answered = 0
    while not compiling.done():
        decision = await bare_server.rank("catalog:meanwhile")
        answered += decision.catalog_version == before.catalog_version

    assert (await compiling).offer_count == 3_000
    assert answered > 1


async def test_death_of_the_compiling_process_costs_one_call(fresh_server: Connection) -> None:
    before = set(children_of(os.getpid()))
    dying = await compiling(fresh_server)
    for child in set(children_of(os.getpid())) - before:
        os.kill(child, signal.SIGKILL)

    refused = await refusal(dying)
    await fresh_server.apply_catalog(stall("after-death"))

    assert (refused.code, refused.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert await offers_of(fresh_server) == ["after-death"]
