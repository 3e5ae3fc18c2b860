"""Publishes three visits of one customer: `python deltas.py HOST:PORT SOURCE CUSTOMER [ATTRIBUTE]`.

Each adds one to the attribute, a number, by default `visits`. It ends with 1 if the server refused one of them.
"""

import asyncio
import sys

from opportune.client import Publisher, PublishError, Rejection
from opportune.v1.profile_pb2 import AttributeUpdates, ProfileDelta


async def main(address: str, source: str, customer: str, attribute: str = "visits") -> int:
    refused = 0

    def refuse(rejection: Rejection) -> None:
        """A bad delta is refused alone: it is recorded there, and sending it again changes nothing."""
        nonlocal refused
        refused += 1
        print(f"refused: {rejection.reason} {rejection.status.message}", file=sys.stderr)

    visit = ProfileDelta(customer_id=customer, attributes=AttributeUpdates(increment={attribute: 1.0}))
    try:
        async with Publisher(address, source=source, on_rejected=refuse) as publisher:
            for _ in range(3):
                await publisher.publish([visit])
            await publisher.flush()
            # What was not refused is durable, and visible to a RankOffers with this `min_profile_version`.
            print(f"acknowledged {publisher.acknowledged_sequence} at version {publisher.profile_version}")
    except PublishError as error:
        print(error, file=sys.stderr)
        return 1
    if refused:
        print(f"{refused} of 3 refused: acknowledged, and not applied", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
