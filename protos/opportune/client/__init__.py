"""Publishing profile deltas from Python, so that no producer has to write resuming itself.

    import asyncio

    from opportune.client import Publisher
    from opportune.v1.profile_pb2 import AttributeUpdates, ProfileDelta
    from opportune.v1.value_pb2 import Value


    async def main() -> None:
        async with Publisher("localhost:50051", source="crm") as publisher:
            tier = AttributeUpdates(set={"tier": Value(string_value="gold")})
            ticket = await publisher.publish([ProfileDelta(customer_id="loyalty:42", attributes=tier)])
            acknowledgement = await ticket
            print("readable from profile version", acknowledgement.profile_version)
            for rejection in acknowledgement.rejected:
                print(rejection.delta.customer_id, rejection.reason, rejection.status.message)


    asyncio.run(main())

`publish` returns as soon as there is room for the message; await its ticket only when the acknowledgement matters, as
leaving the block waits for all. Put many deltas in a message: a message costs about the same whatever is in it. The
deltas of one customer stay in order if they are published in order.

A producer with positions of its own, such as the offsets of a Kafka partition (from 1, so offset + 1), passes them as
`sequence`, uses one source for each partition, and starts behind `publisher.acknowledged_sequence`: then nothing is
lost or applied twice even when the producer itself crashes. Without `sequence` the publisher counts, and a producer
that crashes has to find out from `acknowledged_sequence` which of its last messages arrived.

Other calls are best made on `open_channel`, which brings deadlines, retries and keepalive as the service publishes them
(`service_config`).

`AcknowledgedDataLostError` says that the server was restored to an earlier state: publish what is behind its
`server_sequence` again, with a new publisher.
"""

from opportune.client.backoff import Backoff
from opportune.client.channel import CHANNEL_OPTIONS, open_channel
from opportune.client.errors import AcknowledgedDataLostError, PublisherClosedError, PublishError, SourceConflictError
from opportune.client.published import service_config
from opportune.client.publisher import Publisher
from opportune.client.ticket import Acknowledgement, Rejection, Ticket

__all__ = [
    "CHANNEL_OPTIONS",
    "AcknowledgedDataLostError",
    "Acknowledgement",
    "Backoff",
    "PublishError",
    "Publisher",
    "PublisherClosedError",
    "Rejection",
    "SourceConflictError",
    "Ticket",
    "open_channel",
    "service_config",
]
