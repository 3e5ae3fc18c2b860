"""Builds the image twice on a base made here, compares the two, and ranks in a container that may do nothing else.

    python -m tests.image [--work DIR]

It needs root, a Debian mirror and a package registry. With `--work` base and packages are kept for the next time.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.image.tools import ROOT, FailedError, Store, download, missing, run, step
from tests.integration.catalogs import market, text_of

BASE = "localhost/opportune-base:1"
IMAGE = "localhost/opportune:test"
CONTAINER = "opportune-test"
READY_WITHIN_S = 60

RANK = """
import grpc
from opportune.client import service_config
from opportune.v1 import decision_service_pb2 as pb, decision_service_pb2_grpc as rpc
stub = rpc.DecisionServiceStub(grpc.insecure_channel("127.0.0.1:50051"))
for number in range(100):
    request = pb.RankOffersRequest(customer_id=f"image:{number}", placement_id="home")
    decision = stub.RankOffers(request, timeout=5).decision
print(*(offer.offer_id for offer in decision.offers))
assert service_config()
"""
WRITE = """
import os
from pathlib import Path
for place in ("/", "/opt/opportune", "/models", "/etc"):
    try:
        Path(place, "written").touch()
    except OSError:
        continue
    raise SystemExit(f"{place} can be written to")
print(os.getuid(), os.getgid())
"""


def main() -> int:
    """Exit status 0, or 1 with what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the base and the packages, kept")
    given: Path | None = parser.parse_args().work
    if absent := missing():
        print(f"These programs are missing: {', '.join(absent)}", file=sys.stderr)
        return 1
    with contextlib.ExitStack() as stack:
        work = given or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="opportune-image-")))
        work.mkdir(parents=True, exist_ok=True)
        try:
            _check(Store(work / "store"), work)
        except (FailedError, AssertionError) as failure:
            print(failure, file=sys.stderr)
            return 1
    return 0


def _check(store: Store, work: Path) -> None:
    wheels = _prepare(store, work)
    arguments = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
    for tag in (IMAGE, f"{IMAGE}-again"):
        with step(f"Building {tag}"):
            store.build(tag, ROOT, "--volume", f"{wheels}:/wheels:ro", arguments=arguments)
    with step("Comparing the two"):
        first, again = (store.digest(tag) for tag in (IMAGE, f"{IMAGE}-again"))
        assert first == again, f"the same sources gave {first} and {again}"
    size = int(store.podman("image", "inspect", "--format", "{{.Size}}", IMAGE))
    base = int(store.podman("image", "inspect", "--format", "{{.Size}}", BASE))
    print(f"    {first}, {(size - base) / 2**20:,.0f} MiB on a base of {base / 2**20:,.0f} MiB")
    with _running(store, work), step("Ranking in it"):
        ranked = store.podman("exec", CONTAINER, "python", "-c", RANK).split()
        assert ranked == ["welcome"], ranked
    print("The image is built, reproducible, and ranks.")


def _prepare(store: Store, work: Path) -> Path:
    """The base as an image, and the packages in a folder."""
    base, wheels = work / "base", work / "wheels"
    if not (base / "rootfs.tar").exists():
        with step("Making a base (Debian 12, Python 3.11)"):
            base.mkdir(exist_ok=True)
            packages = "--include=python3,python3-venv,ca-certificates"
            run("mmdebstrap", "--variant=minbase", packages, "bookworm", base / "rootfs.tar.part")
            (base / "rootfs.tar.part").rename(base / "rootfs.tar")
    with step("Fetching the packages"):
        wheels.mkdir(exist_ok=True)
        download(wheels, ROOT / "deploy" / "build.lock", ROOT / "deploy" / "serve.lock")
    with step("Importing the base"):
        (base / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n", encoding="utf-8")
        store.build(BASE, base)
    return wheels


@contextlib.contextmanager
def _running(store: Store, work: Path) -> Iterator[None]:
    """The container as a cluster runs it: no network, nothing to write to but /tmp, no capability, nobody's user."""
    (work / "catalog.json").write_text(text_of(market()), encoding="utf-8")
    (work / "catalog.json").chmod(0o644)
    least = [
        "--network=none",
        "--read-only",
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--memory",
        "1g",
    ]
    limits = ["--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096"]
    catalog = ["--volume", f"{work / 'catalog.json'}:/etc/opportune/catalog.json:ro"]
    store.podman("rm", "-f", CONTAINER, check=False)
    with step("Starting it"):
        command = ["serve", "--catalog", "/etc/opportune/catalog.json"]
        store.podman("run", "-d", "--name", CONTAINER, *least, *limits, *catalog, IMAGE, *command)
        _wait(store)
    try:
        with step("Looking for what it may write"):
            assert store.podman("exec", CONTAINER, "python", "-c", WRITE).split() == ["10001", "10001"]
        yield
        with step("Stopping it"):
            store.podman("stop", "-t", "10", CONTAINER)
            state = json.loads(store.podman("inspect", CONTAINER))[0]["State"]
            assert state["ExitCode"] == 0, state
    finally:
        store.podman("rm", "-f", CONTAINER, check=False)


def _wait(store: Store) -> None:
    """Waits until the image's own health check says that it is healthy."""
    give_up = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < give_up:
        try:
            store.podman("healthcheck", "run", CONTAINER)
        except FailedError:
            time.sleep(0.5)
        else:
            return
    raise FailedError(f"it did not become healthy:\n{store.podman('logs', CONTAINER, check=False)}")


if __name__ == "__main__":
    sys.exit(main())
