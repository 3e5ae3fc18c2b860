"""The composition root: builds everything by hand, in order, and closes it in reverse."""

import asyncio
import gc
import logging
import random
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from opportune.v1 import catalog_service_pb2, decision_service_pb2, profile_service_pb2

from server.compiling import compile_elsewhere
from server.domain.model import Manifest
from server.execution.catalog import Compile, ListOffers, PublishCatalog, refusal
from server.execution.compile import compile_text
from server.execution.profiles import ApplyProfileDeltas, GetProfile
from server.execution.rank import RankOffers
from server.execution.state import State, utc_now
from server.inference.model import load_models
from server.settings import Settings
from server.wire import catalog, decisions, profiles
from server.wire.endpoint import Endpoint, endpoints
from server.wire.grpcio_transport import GrpcioTransport, Transport
from server.wire.native_transport import NativeTransport

GRACE_S = 4.0

_LOG = logging.getLogger("opportune")


class App:
    """A server that is ready: state, use cases, and a transport that has started."""

    def __init__(self, state: State, transport: Transport, port: int) -> None:
        self.state = state
        self.port = port
        self._transport = transport

    async def close(self) -> None:
        """Stops taking calls and lets those in flight finish."""
        await self._transport.stop(GRACE_S)


async def start(settings: Settings, stack: AsyncExitStack) -> App:
    """Starts a server; the stack closes it.

    Raises:
        ModelRefusedError: a model is not what its manifest says.
        OpportuneError: the catalog has problems.
        OSError, RuntimeError: a file cannot be read, or the address cannot be bound.
    """
    models = load_models(settings.models) if settings.models else {}
    manifests = {model_id: model.manifest for model_id, model in models.items()}
    state = State(models)
    if settings.catalog is not None:
        _publish_file(state, settings.catalog, manifests)
    _tune_collector()
    transport = _transport(settings, _endpoints(state, partial(compile_elsewhere, manifests=manifests)))
    port = await transport.start()
    app = App(state, transport, port)
    stack.push_async_callback(app.close)
    return app


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        app = await start(settings, stack)
        host = settings.listen.rpartition(":")[0]
        _LOG.info(
            "serving on %s:%s, catalog version %s, models: %s",
            host, app.port, app.state.catalog_version, ", ".join(app.state.models) or "none",
        )  # fmt: skip
        await stop.wait()
        _LOG.info("stopping")


def _tune_collector() -> None:
    """Keeps the garbage collector out of most requests.

    What is alive now lives for ever and is not walked again. A request makes some hundred objects without cycles, so
    the default of one collection for every 700 would run several times in ten requests, and find nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _publish_file(state: State, path: Path, manifests: Mapping[str, Manifest]) -> None:
    compiled, problems = compile_text(path.read_text(encoding="utf-8"), manifests)
    if compiled is None:
        raise refusal(problems)
    state.publish(replace(compiled, version=1))


def _endpoints(state: State, compile_catalog: Compile) -> list[Endpoint]:
    rank = RankOffers(state, utc_now, _decision_ids())
    services = (
        (decision_service_pb2, "DecisionService", decisions.DecisionServicer(rank), decisions.LIMITS_BYTES),
        (
            profile_service_pb2,
            "ProfileService",
            profiles.ProfileServicer(ApplyProfileDeltas(state), GetProfile(state), utc_now),
            profiles.LIMITS_BYTES,
        ),
        (
            catalog_service_pb2,
            "CatalogService",
            catalog.CatalogServicer(PublishCatalog(state, compile_catalog), ListOffers(state)),
            catalog.LIMITS_BYTES,
        ),
    )
    return [
        endpoint
        for module, name, servicer, limits in services
        for endpoint in endpoints(module.DESCRIPTOR.services_by_name[name], servicer, limits)
    ]


def _decision_ids() -> Callable[[], str]:
    """Makes random ids of 128 bits; seeded by the system once, as asking it for every decision costs a system call."""
    bits = random.Random(random.SystemRandom().getrandbits(256)).getrandbits
    return lambda: f"{bits(128):032x}"


def _transport(settings: Settings, served: list[Endpoint]) -> Transport:
    """`auto` is native: nothing that only grpcio can do (TLS, connection age) can be asked for yet."""
    if settings.transport == "grpcio":
        return GrpcioTransport(settings.listen, served)
    return NativeTransport(settings.listen, served)
