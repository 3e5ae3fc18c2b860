"""A server as the command line's client sees it: where it is, and how to get in."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
from grpc import aio


class Target(NamedTuple):
    """A server.

    Attributes:
        address: `HOST:PORT`.
        token: The caller's token; empty for none.
        ca: PEM of who must have signed the server's certificate; None: no TLS.
        certificate: The caller's own certificate in PEM, for servers that ask for one, with its `key`.
        name: What the server's certificate must name, if that is not its host.
    """

    address: str
    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    name: str = ""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call brings."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def channel(self, options: Sequence[tuple[str, int | str]] = ()) -> aio.Channel:
        """A channel; without a CA it is not encrypted.

        Raises:
            OSError: a file cannot be read.
        """
        if self.ca is None:
            return aio.insecure_channel(self.address, options=options)
        key, certificate = (None if path is None else path.read_bytes() for path in (self.key, self.certificate))
        credentials = grpc.ssl_channel_credentials(self.ca.read_bytes(), key, certificate)
        named = (("grpc.ssl_target_name_override", self.name),) if self.name else ()
        return aio.secure_channel(self.address, credentials, options=(*options, *named))


def target_of(server: str | Target) -> Target:
    """The target that an address stands for."""
    return Target(server) if isinstance(server, str) else server
