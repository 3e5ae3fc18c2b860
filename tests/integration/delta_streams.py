"""Streaming calls of a client that does everything by hand."""

from collections.abc import Iterable
from typing import Any

from grpc import aio
from opportune.v1 import profile_service_pb2 as pb
from opportune.v1.profile_pb2 import AttributeUpdates, Event, ProfileDelta

from tests.integration.connection import TIMEOUT_S, Connection, value


class DeltaStream:
    """One call of StreamProfileDeltas.

    Attributes:
        responses: Everything that was received.
    """

    def __init__(self, connection: Connection, source: str) -> None:
        self.call: Any = connection.profiles.StreamProfileDeltas(timeout=TIMEOUT_S)
        self.source = source
        self.responses: list[pb.StreamProfileDeltasResponse] = []

    async def ask(self) -> pb.StreamProfileDeltasResponse:
        """Asks where the source left off."""
        await self.call.write(pb.StreamProfileDeltasRequest(source=self.source))
        return await self.response()

    async def send(self, sequence: int, *deltas: ProfileDelta, source: str | None = None) -> None:
        """Sends a message."""
        name = self.source if source is None else source
        await self.call.write(pb.StreamProfileDeltasRequest(source=name, sequence=sequence, deltas=deltas))

    async def response(self) -> pb.StreamProfileDeltasResponse:
        """The next response.

        Raises:
            AioRpcError: the call has ended with an error.
            EOFError: it has ended with OK.
        """
        response = await self.call.read()
        if response is aio.EOF:
            raise EOFError
        self.responses.append(response)
        received: pb.StreamProfileDeltasResponse = response
        return received

    async def until(self, sequence: int) -> pb.StreamProfileDeltasResponse:
        """The response that acknowledges a sequence."""
        while (response := await self.response()).acknowledged_sequence < sequence:
            pass
        return response

    async def end(self) -> list[pb.StreamProfileDeltasResponse]:
        """All that is left, to the end of the call, which must be OK."""
        try:
            while True:
                await self.response()
        except EOFError:
            return self.responses

    @property
    def rejected(self) -> list[tuple[int, int]]:
        """Sequence and index of what was refused so far."""
        return [(each.sequence, each.index) for response in self.responses for each in response.rejected]


def visit(customer_id: str, amount: float = 1.0) -> ProfileDelta:
    """A delta that adds visits."""
    return ProfileDelta(customer_id=customer_id, attributes=AttributeUpdates(increment={"visits": amount}))


def purchase(customer_id: str, **properties: float) -> ProfileDelta:
    """A purchase."""
    contents = {name: value(content) for name, content in properties.items()}
    return ProfileDelta(customer_id=customer_id, event=Event(type="purchase", properties=contents))


def at(delta: ProfileDelta, seconds: int) -> ProfileDelta:
    """The delta with the time of its event, in seconds since 1970."""
    delta.event_time.seconds = seconds
    return delta


async def rejections(connection: Connection, source: str, page_size: int = 0) -> list[list[tuple[int, int, str]]]:
    """What ListRejectedDeltas says of a source, by page: sequence, index and reason."""
    pages: list[list[tuple[int, int, str]]] = []
    token = ""
    while token or not pages:
        request = pb.ListRejectedDeltasRequest(source=source, page_size=page_size, page_token=token)
        page: pb.ListRejectedDeltasResponse = await connection.profiles.ListRejectedDeltas(request, timeout=TIMEOUT_S)
        pages.append([(each.sequence, each.index, each.reason) for each in page.rejections])
        token = page.next_page_token
    return pages


def load_request(
    source: str, sequence: int, customer_ids: Iterable[str] = (), **columns: Any
) -> pb.LoadProfilesRequest:
    """A message of a bulk load; a column is its values, or a LoadColumn without its name."""
    request = pb.LoadProfilesRequest(source=source, sequence=sequence, customer_ids=customer_ids)
    for name, content in columns.items():
        column = content if isinstance(content, pb.LoadColumn) else pb.LoadColumn(values=content)
        column.name = name
        request.columns.append(column)
    return request
