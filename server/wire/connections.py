"""How connections are kept, and when they are ended: the same words for both transports.

Behind a balancer of connections (L4) callers stay where they are until their connection ends, so that a new server gets
nothing: grpcio ends them at an age, which it spreads by 10 % itself, and lets the calls on them finish. The native
transport cannot end a connection by its age.
"""

from typing import NamedTuple

PING_EVERY_S_MIN = 10
"""Callers may ping so often; the default of gRPC answers the second ping within 5 minutes with GOAWAY."""


class Connections(NamedTuple):
    """What is asked of connections.

    Attributes:
        age_s: After how long callers are asked to connect again; 0: never.
        grace_s: How long the calls on such a connection may still take.
        keepalive_s: After how long without any sign of life the caller's side is asked for one.
        keepalive_timeout_s: How long the answer may take.
        streams: Calls on one connection at once.
        pending: Calls of all connections that wait within grpcio's core for Python to take them. Beyond that some are
            refused at random, and beyond 9/8 as many all. That is for a tenth of what a refusal costs in Python,
            which is not much less than an answer; but the core knows no deadlines, and refuses with CANCELLED. So
            it is what a burst has, and no more than can be answered within a tenth of a second.
    """

    age_s: float = 0.0
    grace_s: float = 30.0
    keepalive_s: float = 30.0
    keepalive_timeout_s: float = 20.0
    streams: int = 1_024
    pending: int = 64


DEFAULTS = Connections()


def grpcio_options(connections: Connections) -> list[tuple[str, int]]:
    """The same as options of a grpcio server."""
    options = [
        ("grpc.http2.min_ping_interval_without_data_ms", PING_EVERY_S_MIN * 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", _ms(connections.keepalive_s)),
        ("grpc.keepalive_timeout_ms", _ms(connections.keepalive_timeout_s)),
        ("grpc.max_concurrent_streams", connections.streams),
        ("grpc.server.max_pending_requests", connections.pending),
        ("grpc.server.max_pending_requests_hard_limit", connections.pending + connections.pending // 8),
    ]
    if connections.age_s:
        options.append(("grpc.max_connection_age_ms", _ms(connections.age_s)))
        options.append(("grpc.max_connection_age_grace_ms", _ms(connections.grace_s)))
    return options


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
