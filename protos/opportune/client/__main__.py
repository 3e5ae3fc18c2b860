"""`python -m opportune.client FOLDER` writes what callers in other languages, and proxies, need of this package.

- `opportune/v1/*.proto`, and of Google's those that they import: to generate stubs from, or to load.
- `descriptors.binpb`: the same as a FileDescriptorSet, for Envoy's JSON transcoder.
- `service_config.json`: deadlines and retries, for the channel option `grpc.service_config`.
"""

import sys
from importlib.resources import files
from pathlib import Path

from opportune.client.published import service_config

IMPORTED = ("google/api/annotations.proto", "google/api/http.proto", "google/rpc/status.proto")
"""Beside those of `google/protobuf`, which every compiler brings along."""


def main(arguments: list[str]) -> int:
    """Exit status 0, or 2 with how it is used."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    folder, package = Path(arguments[0]), files("opportune.v1")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "descriptors.binpb").write_bytes(package.joinpath("descriptors.binpb").read_bytes())
    (folder / "service_config.json").write_text(service_config(), encoding="utf-8")
    for source in package.iterdir():
        if source.name.endswith(".proto"):
            _write(folder / "opportune" / "v1" / source.name, source.read_bytes())
    for name in IMPORTED:
        module, _, file = name.rpartition("/")
        _write(folder / name, files(module.replace("/", ".")).joinpath(file).read_bytes())
    return 0


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
