"""The programs that build and run images without a daemon, and without a registry."""

import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("mmdebstrap", "buildah", "podman", "runc")
ROOT = Path(__file__).parents[2]
EPOCH = "1767225600"
"""2026-01-01: the time of every file of an image."""


class FailedError(Exception):
    """A program failed; the message has the end of what it printed."""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def run(*command: str | Path, check: bool = True, timeout_s: float = 900) -> str:
    """What a program printed.

    Raises:
        FailedError: it failed, or took too long.
    """
    text = [str(part) for part in command]
    try:
        done = subprocess.run(text, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired as late:
        raise FailedError(f"{' '.join(text[:6])} took more than {timeout_s:.0f} s") from late
    if check and done.returncode != 0:
        raise FailedError(
            f"{' '.join(text[:6])} … ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3_000:]}"
        )
    return done.stdout


def step(name: str) -> "Step":
    """Says what is being done, and how long it took."""
    return Step(name)


@dataclass(slots=True)
class Step:
    """One thing that takes a while."""

    name: str
    begin_s: float = 0.0

    def __enter__(self) -> None:
        self.begin_s = time.monotonic()
        print(f"==> {self.name:<44}", end=" ", flush=True)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        print(f"{'ok' if kind is None else 'FAILED'} ({time.monotonic() - self.begin_s:.1f} s)", flush=True)


@dataclass(frozen=True, slots=True)
class Store:
    """Where images and containers are kept: a folder of our own, in plain files."""

    folder: Path

    def _where(self) -> list[str]:
        return ["--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"), "--storage-driver", "vfs"]

    def build(self, tag: str, context: Path, *options: str, arguments: Mapping[str, str] | None = None) -> None:
        """Builds an image of a folder with a Dockerfile, from scratch, with all times the same."""
        given = [part for name, content in (arguments or {}).items() for part in ("--build-arg", f"{name}={content}")]
        how = ["--isolation", "chroot", "--format", "docker", "--no-cache", "--timestamp", EPOCH, *options, *given]
        run("buildah", *self._where(), "bud", *how, "-t", tag, context)

    def digest(self, tag: str) -> str:
        """The digest of an image in the OCI format, which unlike Docker's has no id of the container it was made in."""
        target, digest = self.folder / "oci", self.folder / "digest"
        how = ["--format", "oci", "--disable-compression", "--digestfile", str(digest)]
        run("buildah", *self._where(), "push", *how, tag, f"oci:{target}:compared")
        return digest.read_text(encoding="ascii").strip()

    def podman(self, *command: str | Path, check: bool = True) -> str:
        """Does something with containers."""
        how = ["--cgroup-manager", "cgroupfs", "--runtime", str(shutil.which("runc"))]
        return run("podman", *self._where(), *how, *command, check=check, timeout_s=120)


def download(folder: Path, *locks: Path) -> None:
    """Fetches the packages of lock files, each checked against its hash, so that building needs no network."""
    for lock in locks:
        wanted: list[str | Path] = ["--require-hashes", "-r", lock, "-d", folder, "--only-binary", ":all:"]
        run(sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", *wanted)
