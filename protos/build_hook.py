"""Makes the package `opportune` while the wheel is built: compiles `opportune/v1/*.proto`, copies `opportune/client`.

Nothing generated is committed: an editable install gets the package in its site-packages, a wheel carries it. The
client is copied there too, so that one package has both; after a change of it, `make install` copies it anew. With them
comes what those need who have no stubs: the protos, also as one descriptor set, and the service config.
"""

import shutil
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DESCRIPTORS = Path("opportune", "v1", "descriptors.binpb")
"""Every message and service as a FileDescriptorSet, for Envoy's JSON transcoder."""

DETAILS = ("google/rpc/error_details.proto",)
"""No message of ours has them as a field, but the `Any` of an error does, and to write it as JSON takes its type."""


class ProtoBuildHook(BuildHookInterface[Any]):
    """Adds the package to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the package in a temporary folder and tells the builder to include it."""
        self._output = Path(tempfile.mkdtemp(prefix="opportune-protos-"))
        compile_protos(Path(self.root, "protos"), self._output)
        copy_client(Path(self.root, "protos"), self._output)
        include = "force_include_editable" if version == "editable" else "force_include"
        build_data[include][str(self._output / "opportune")] = "opportune"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the temporary folder."""
        shutil.rmtree(self._output, ignore_errors=True)


def compile_protos(protos: Path, output: Path) -> None:
    """Writes modules, stubs and type stubs of every `.proto` below `protos/opportune` to `output`.

    Raises:
        RuntimeError: protoc refused a file; its own message is on standard error.
    """
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(protos)) for path in protos.glob("opportune/**/*.proto"))
    includes = [
        str(protos),
        str(files("grpc_tools") / "_proto"),
        str(Path(str(files("google.rpc") / "status.proto")).parents[2]),
    ]
    command = ["protoc", *(f"-I{path}" for path in includes)]
    outputs = [f"--{kind}_out={output}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main([*command, *outputs, *sources]):
        raise RuntimeError(f"protoc could not compile {', '.join(sources)}")
    for folder in (output / "opportune", output / "opportune" / "v1"):
        (folder / "__init__.py").touch()
        (folder / "py.typed").touch()
    for source in sources:
        shutil.copy(protos / source, output / source)
    described = ["--include_imports", f"--descriptor_set_out={output / DESCRIPTORS}"]
    if protoc.main([*command, *described, *sources, *DETAILS]):
        raise RuntimeError(f"protoc could not describe {', '.join(sources)}")


def copy_client(protos: Path, output: Path) -> None:
    """Copies the package that is written by hand to its place beside the generated one, with the service config."""
    client = Path("opportune", "client")
    shutil.copytree(protos / client, output / client, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(protos / "service_config.json", output / client)
