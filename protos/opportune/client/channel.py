"""Channels to the service: what a publisher opens if it is given an address, and what any other caller should."""

import grpc
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
"""For a channel of the caller's own: `aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS)`."""


def open_channel(address: str, tls_ca: bytes | None = None) -> aio.Channel:
    """A channel to `HOST:PORT` or any name that gRPC resolves: with TLS if PEM says who signs servers' certificates.

    Of several addresses it calls those whose health is SERVING in turn. Behind a proxy that does not pass health on,
    the proxy's is taken for granted.
    """
    if tls_ca is None:
        return aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    return aio.secure_channel(address, grpc.ssl_channel_credentials(tls_ca), options=CHANNEL_OPTIONS)
