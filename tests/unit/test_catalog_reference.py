"""server/CATALOG.md: what it shows is what the server takes."""

import re
from pathlib import Path
from typing import Any

import yaml

from server.execution.compile import compile_text
from server.intelligence.catalog_file import read_catalog
from tests.support.catalogs import Document, text_of

REFERENCE = Path(__file__).parents[2] / "server" / "CATALOG.md"


def example() -> Document:
    """The reference's example, with what it leaves out: attributes, offers to speak of, and values."""
    (text,) = re.findall(r"```yaml\n(contacts:.*?)```", REFERENCE.read_text(encoding="utf-8"), flags=re.DOTALL)
    shown = yaml.load(text.replace(", on:", ", 'on':"), Loader=yaml.SafeLoader)
    for placement in shown["placements"]:
        placement["channel"] = ["web", "sms"]
    return {"currency": "USD", **DECLARED, **shown, "offers": [*map(_complete, [*shown["offers"], *OTHERS])]}


DECLARED: Document = {
    "attributes": [
        {"id": "zone", "type": "category", "values": ["Europe/Berlin", "America/New_York"]},
        {"id": "household", "type": "key"},
        {"id": "age", "type": "number"},
        {"id": "visits", "type": "number"},
    ],
    "context": [{"id": "weather", "type": "category", "values": ["rain", "sun"]}],
}
OTHERS: list[Document] = [{"id": "welcome"}, {"id": "magnum"}]


def _complete(offer: Document) -> Document:
    return {
        "tactic": "delivery",
        "value": {"revenue": 1, "margin": 1},
        "attributes": {"department": "wine"},
        "creatives": [{"id": "c", "channel": "web"}],
        **offer,
    }


def test_example_of_the_reference_compiles() -> None:
    document = example()

    found = compile_text(text_of(document), {})

    assert [str(problem) for problem in found.problems] == []
    assert found.catalog is not None
    (catalog, _) = read_catalog(text_of(document))
    # Nothing that it shows has been read over.
    assert [len(part) for part in (catalog.rules, catalog.levers, catalog.budgets, catalog.quiet_hours)] == [4, 1, 2, 1]
    assert len(catalog.offers[0].caps) == 3


def test_every_key_of_an_entry_is_in_the_reference() -> None:
    from server.intelligence import catalog_entries, policy_entries

    text = REFERENCE.read_text(encoding="utf-8")
    entries: list[Any] = [
        policy_entries.CapEntry,
        policy_entries.BudgetEntry,
        policy_entries.RuleEntry,
        policy_entries.EffectEntry,
        policy_entries.LeverEntry,
        policy_entries.ChannelEntry,
        policy_entries.ContactsEntry,
        policy_entries.TimeZoneEntry,
        catalog_entries.DiversityEntry,
    ]
    keys = {field.alias or name for entry in entries for name, field in entry.model_fields.items()}

    assert sorted(key for key in keys if not re.search(rf"\b{key}\b", text)) == []
