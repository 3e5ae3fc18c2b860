"""The checks before the tests: format, lint, types, layers, protos. `python -m tests.checks` runs them all.

Every check runs even if one before it failed; the exit code is 1 if any did.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.unknown_fields import UnknownFieldSet

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
BIN = Path(sys.executable).parent
SOURCES = ["server", "loadtest", "model_artifacts", "tests", "protos", "deploy"]
BASE = "main"
"""The branch whose API must not be broken."""


def main() -> int:
    """Runs the checks, a line each."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("format", lambda: _run(BIN / "ruff", "format", "--check", "--quiet", *SOURCES)),
        ("lint", lambda: _run(BIN / "ruff", "check", "--quiet", *SOURCES)),
        ("types", lambda: _run(BIN / "mypy", "--no-error-summary")),
        ("layers", lambda: _run(BIN / "lint-imports", "--no-logo", "--no-cache")),
        ("protos lint", _lint_protos),
        ("protos access", _check_access),
        ("protos compatible", _compare_protos),
        ("locks hashed", _check_locks),
    ]
    failed = 0
    for name, check in checks:
        start = time.monotonic()
        print(f"==> {name:<18}", end=" ", flush=True)
        problems = check()
        print(f"{'FAILED' if problems else 'ok'} ({time.monotonic() - start:.1f} s)", flush=True)
        if problems:
            failed += 1
            print(problems)
    return 1 if failed else 0


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command printed if it failed, else nothing."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"


def _lint_protos() -> str:
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "now.binpb")
        return _describe(PROTOS, descriptors) or _run(BIN / "buf", "lint", descriptors, "--config", PROTOS / "buf.yaml")


def _check_access() -> str:
    """Every method says who may call it: one that does not keeps the server from starting."""
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder, "now.binpb")
        if problems := _describe(PROTOS, descriptors):
            return problems
        described = FileDescriptorSet.FromString(descriptors.read_bytes())
    files = [file for file in described.file if file.package.startswith("opportune.")]
    option = {entry.number for file in files for entry in file.extension if entry.name == "access"}
    return "\n".join(
        f"{file.name}: {service.name}.{method.name} has no option (access)"
        for file in files
        for service in file.service
        for method in service.method
        # The option's own type is not compiled in here, so it is a field that is not known.
        if not any(field.field_number in option and field.data for field in list(UnknownFieldSet(method.options)))  # type: ignore[call-overload]
    )


def _check_locks() -> str:
    """Every dependency is pinned and hashed. Whether one is known to be vulnerable needs a service: `make audit`."""
    options = ["--dry-run", "--strict", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
    locks = [part for lock in sorted(ROOT.glob("deploy/*.lock")) for part in ("-r", lock)]
    return _run(BIN / "pip-audit", *options, *locks)


def _compare_protos() -> str:
    """Compares with the base branch; a clone that does not have it, or a first commit, has nothing to compare with."""
    if _run("git", "rev-parse", "--verify", "--quiet", f"{BASE}:protos"):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        archive, before, now = Path(folder, "base.tar"), Path(folder, "before.binpb"), Path(folder, "now.binpb")
        return (
            _run("git", "archive", "--output", archive, BASE, "protos")
            or _run("tar", "-xf", archive, "-C", folder)
            or _describe(Path(folder, "protos"), before)
            or _describe(PROTOS, now)
            or _run(BIN / "buf", "breaking", now, "--against", before, "--config", PROTOS / "buf.yaml")
        )


def _describe(protos: Path, output: Path) -> str:
    includes = [protos, files("grpc_tools") / "_proto", Path(str(files("google.rpc") / "status.proto")).parents[2]]
    sources = [str(path.relative_to(protos)) for path in sorted(protos.glob("opportune/**/*.proto"))]
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
    return _run(sys.executable, "-m", "grpc_tools.protoc", *(f"-I{path}" for path in includes), *options, *sources)


if __name__ == "__main__":
    sys.exit(main())
