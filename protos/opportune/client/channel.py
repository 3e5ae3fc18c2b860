"""Channels to the service: what a publisher opens if it is given an address, and what any other caller should."""

from grpc import aio
from opportune.client.published import service_config

CHANNEL_OPTIONS = (
    # A peer that vanished without a word is noticed within 40 seconds; servers accept a ping every 10.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A stream may be idle for hours, and is pinged all the same.
    ("grpc.http2.max_pings_without_data", 0),
    # A failed connection makes calls fail at once for this long. The publisher backs off itself, so it is short.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A response may carry a thousand rejections of each outstanding message.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # Deadlines, retries, and the health service's word on whom to call, as long as no resolver says otherwise.
    ("grpc.service_config", service_config()),
)
"""For a channel of the caller's own, for example one with TLS: `aio.secure_channel(..., options=CHANNEL_OPTIONS)`."""


def open_channel(address: str) -> aio.Channel:
    """A channel to `HOST:PORT` or any name that gRPC resolves, without TLS.

    Of several addresses it calls those whose health is SERVING in turn. Behind a proxy that does not pass health on,
    the proxy's is taken for granted.
    """
    return aio.insecure_channel(address, options=CHANNEL_OPTIONS)
