"""The offer by which one sees that a delta has arrived: only customers with the attribute `probe` get it."""

from opportune.v1.profile_pb2 import ProfileDelta

from loadtest.catalog import CHANNEL
from loadtest.schema import DEPARTMENTS, OFFER

PROBE = "probe"
"""The name of the attribute, and of the offer."""


def probe_attribute() -> dict[str, object]:
    """The attribute as the catalog file declares it."""
    return {"id": PROBE, "type": "boolean"}


def probe_offer() -> dict[str, object]:
    """The offer as the catalog file has it: worth so much that it beats every other one."""
    return {
        "id": PROBE,
        "tactic": "discount",
        "value": {"revenue": 1e9, "margin": 1.0},
        "attributes": {"department": DEPARTMENTS[0], **dict.fromkeys(OFFER, 0.0)},
        "eligible": f"customer.{PROBE} == true",
        "channels": [CHANNEL],
        "creatives": [{"id": "c1", "channel": CHANNEL, "content": {"title": "The probe"}}],
    }


def probe_delta(customer_id: str) -> ProfileDelta:
    """What makes a customer eligible for the offer."""
    delta = ProfileDelta(customer_id=customer_id)
    delta.attributes.set[PROBE].bool_value = True
    return delta
