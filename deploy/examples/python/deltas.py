"""Publishes three visits of one customer: `python deltas.py HOST:PORT SOURCE CUSTOMER [ATTRIBUTE]`."""

import asyncio
import sys

from opportune.client import Publisher, PublishError, Rejection
from opportune.v1.profile_pb2 import AttributeUpdates, ProfileDelta


def refused(rejection: Rejection) -> None:
    """A bad delta is refused alone; it is recorded on the server, and sending it again changes nothing."""
    print(f"refused: {rejection.reason} {rejection.status.message}", file=sys.stderr)


async def main(address: str, source: str, customer: str, attribute: str = "visits") -> int:
    visit = ProfileDelta(customer_id=customer, attributes=AttributeUpdates(increment={attribute: 1.0}))
    try:
        async with Publisher(address, source=source, on_rejected=refused) as publisher:
            for _ in range(3):
                await publisher.publish([visit])
            await publisher.flush()
            # Everything is durable, and visible to a RankOffers with this `min_profile_version`.
            print(f"acknowledged {publisher.acknowledged_sequence} at version {publisher.profile_version}")
    except PublishError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
