"""Why publishing stopped. Whatever a retry can mend is retried and never gets here."""

import grpc


class PublishError(Exception):
    """Publishing stopped for good: every outstanding ticket and every later call fails with this.

    Attributes:
        code: the canonical code; `reason` says more.
        reason: a name of `ErrorReason` without its prefix, or of this package; empty if the server gave none.
        message: a sentence for a log.
    """

    def __init__(self, code: grpc.StatusCode, reason: str, message: str) -> None:
        super().__init__(code, reason, message)
        self.code = code
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}" if self.reason else f"{self.code.name}: {self.message}"


class AcknowledgedDataLostError(PublishError):
    """The server knows less than it had acknowledged: what is between the two sequences must be published anew.

    Attributes:
        acknowledged_sequence: what it had acknowledged.
        server_sequence: what it says now.
    """

    def __init__(self, acknowledged_sequence: int, server_sequence: int) -> None:
        lost = f"acknowledged {acknowledged_sequence} before and only {server_sequence} now"
        super().__init__(grpc.StatusCode.DATA_LOSS, "ACKNOWLEDGED_DATA_LOST", f"the server {lost}")
        self.acknowledged_sequence = acknowledged_sequence
        self.server_sequence = server_sequence

    def __reduce__(self) -> tuple[type, tuple[int, int]]:
        return type(self), (self.acknowledged_sequence, self.server_sequence)


class SourceConflictError(PublishError):
    """The server acknowledged what this publisher never sent: another one publishes under the same source.

    Which of the two had its messages applied cannot be told, as their sequences are the same.
    """

    def __init__(self, source: str, acknowledged_sequence: int, last_sequence: int) -> None:
        beyond = f"sequence {acknowledged_sequence} is acknowledged and {last_sequence} was the last one published here"
        message = f"another publisher uses the source {source}: {beyond}"
        super().__init__(grpc.StatusCode.ABORTED, "SOURCE_CONFLICT", message)
        self._arguments = (source, acknowledged_sequence, last_sequence)

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        return type(self), self._arguments


class PublisherClosedError(PublishError):
    """The publisher, or the channel it was given, was closed. What was outstanding may or may not have been applied."""

    def __init__(self) -> None:
        super().__init__(grpc.StatusCode.CANCELLED, "PUBLISHER_CLOSED", "the publisher is closed")

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()
