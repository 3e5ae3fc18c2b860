"""Two servers, a sidecar in front of each, and the sidecar of whoever calls them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from tests.integration.connection import Connection
from tests.integration.mesh.certificates import SERVER_ID, Authority, caller
from tests.integration.mesh.envoys import Envoy, inbound, outbound

CUSTOMER_HEADER = "x-opportune-customer"


@dataclass(frozen=True, slots=True)
class Mesh:
    """What callers see: the sidecar through which they call, and the sidecars of the servers behind it."""

    envoy: Envoy
    sidecars: Sequence[Envoy]
    authority: Authority
    folder: Path

    def connection(self, name: str = "opportune") -> Connection:
        """A connection through the caller's sidecar to `opportune`, or to one server by its name.

        Its channel retries nothing: what it sees is what Envoy makes of it.
        """
        authority = ("grpc.default_authority", f"{name}.opportune:50051")
        return Connection(self.envoy.ports["outbound"], ("grpc.enable_retries", 0), authority)


@asynccontextmanager
async def sidecar_of(shop: Mesh, authority: Authority, account: str, healthy: int = 2) -> AsyncIterator[Envoy]:
    """A sidecar of another account's own in front of the same servers, of which so many let it in."""
    folder = Path(mkdtemp(prefix=f"{account}-", dir=shop.folder))
    tls = authority.issue(folder / "tls", caller(account))
    # Of a stranger's authority, too, the sidecar itself trusts the servers.
    (tls / "ca.crt").write_bytes((shop.folder / "caller-tls" / "ca.crt").read_bytes())
    ports = [sidecar.ports["inbound"] for sidecar in shop.sidecars]
    async with outbound(folder / "envoy", tls, ports) as envoy:
        await envoy.until_checked("opportune", 4)
        await envoy.until_healthy("opportune", healthy)
        yield envoy


@asynccontextmanager
async def mesh(
    folder: Path, server_ports: Sequence[int], account: str = "checkout", healthy: int = 2
) -> AsyncIterator[Mesh]:
    """A mesh in front of two servers, of which so many are healthy, called by a service account of the shop."""
    authority = Authority()
    own = authority.issue(folder / "server-tls", SERVER_ID)
    theirs = authority.issue(folder / "caller-tls", caller(account))
    async with AsyncExitStack() as stack:
        sidecars = [
            await stack.enter_async_context(inbound(folder / f"inbound-{number}", own, port))
            for number, port in enumerate(server_ports)
        ]
        ports = [sidecar.ports["inbound"] for sidecar in sidecars]
        envoy = await stack.enter_async_context(outbound(folder / "outbound", theirs, ports))
        await envoy.until_healthy("opportune", healthy)
        yield Mesh(envoy, sidecars, authority, folder)
