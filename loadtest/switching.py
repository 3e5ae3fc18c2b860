"""A catalog published in the middle of a window, which also switches to another model."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

import grpc
from opportune.v1.catalog_service_pb2 import ApplyCatalogRequest
from opportune.v1.catalog_service_pb2_grpc import CatalogServiceStub

from loadtest import manifest
from loadtest.target import Window
from loadtest.workload import SEED, Workload

OTHER_VERSION = "2"
PUBLISHED_WITHIN_S = 60.0


@dataclass(slots=True)
class Switching:
    """Publishes one of two catalogs in turn; they differ in the model. `took_s`: how long each publication took."""

    address: str
    catalogs: tuple[str, str]
    took_s: list[float] = field(default_factory=list)

    def window(self, measure: Callable[[], Window], seconds: float) -> Window:
        """Runs a window of so many seconds, and publishes when half of it is over.

        Raises:
            grpc.RpcError: the catalog was refused.
        """
        pool = ThreadPoolExecutor(1)
        try:
            publishing = pool.submit(self._publish_after, seconds / 2)
            measured = measure()
            self.took_s.append(publishing.result())
        finally:
            # Not waiting: if this is unwound, the server is ended next, and the call with it.
            pool.shutdown(wait=False)
        return measured

    def _publish_after(self, seconds: float) -> float:
        sleep(seconds)
        started = perf_counter()
        with grpc.insecure_channel(self.address) as channel:
            request = ApplyCatalogRequest(catalog=self.catalogs[len(self.took_s) % 2])
            stub = CatalogServiceStub(channel)  # type: ignore[no-untyped-call]  # Generated stubs have no types.
            stub.ApplyCatalog(request, timeout=PUBLISHED_WITHIN_S)
        return perf_counter() - started


def with_other_model(workload: Workload) -> tuple[str, str]:
    """Two texts of the workload's catalog: with another version of the model, which is written now, and as it is."""
    as_it_is = workload.catalog.read_text()
    other = json.loads(as_it_is)
    model = manifest.write(Path(workload.models), SEED + 1, OTHER_VERSION)
    for placement in other["placements"]:
        placement["model"] = model
    return json.dumps(other), as_it_is
