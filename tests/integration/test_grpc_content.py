"""Content with tokens over both transports: what a row holds, and what the vault holds."""

import secrets
from pathlib import Path

import pytest
from opportune.v1 import decision_service_pb2

from tests.integration.connection import Connection, delta
from tests.integration.test_data_folder import running

CATALOG = """
currency: USD
attributes:
  - {id: tier, type: category, values: [basic, gold], content: true}
  - {id: first_name, type: text, content: true}
  - {id: nickname, type: text, content: true, purpose: familiarity}
channels:
  - {id: web, content: html}
offers:
  - id: hello
    tactic: content
    value: {revenue: 1, margin: 1}
    creatives:
      - id: w
        channel: web
        content: {title: '{{customer.first_name|there}}/{{customer.nickname|you}}', tier: '{{customer.tier|new}}'}
placements:
  - {id: home, channel: web, slots: 1}
"""
NAME = "Zoë <b>{{customer.tier}}</b>"


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    file = tmp_path / "catalog.yaml"
    file.write_text(CATALOG, encoding="utf-8")
    return file


async def content(server: Connection, customer_id: str) -> dict[str, str]:
    (offer,) = (await server.rank(customer_id, include_content=True)).offers
    return dict(offer.content)


async def test_texts_of_the_vault_are_shown_escaped_with_consent_and_recorded_nowhere(
    transport: str, tmp_path: Path, catalog: Path
) -> None:
    data, key = tmp_path / "data", secrets.token_hex(32)
    async with running(transport, data=data, catalog=catalog, vault_key=key) as (_, server):
        await server.apply_deltas(delta("c:1", first_name=NAME, nickname="Zo", tier="gold"))

        named = await content(server, "c:1")
        nobody = await content(server, "c:2")

        assert named == {"title": "Zoë &lt;b&gt;{{customer.tier}}&lt;/b&gt;/you", "tier": "gold"}
        assert nobody == {"title": "there/you", "tier": "new"}
        requests = [
            decision_service_pb2.RankOffersRequest(customer_id=c, placement_id="home", include_content=True)
            for c in ("c:1", "c:2")
        ]
        both = [dict(result.decision.offers[0].content) for result in await server.rank_all(requests)]
        assert both == [named, nobody]
    for file in data.rglob("*"):
        assert not file.is_file() or "Zoë".encode() not in file.read_bytes(), file.name


async def test_without_a_vault_the_defaults_are_shown(transport: str, catalog: Path) -> None:
    async with running(transport, catalog=catalog) as (_, server):
        assert (await content(server, "c:1"))["title"] == "there/you"


async def test_content_is_only_filled_when_it_is_asked_for(transport: str, catalog: Path) -> None:
    async with running(transport, catalog=catalog) as (_, server):
        (offer,) = (await server.rank("c:1")).offers

        assert not offer.content
