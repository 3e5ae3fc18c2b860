"""The protos as they are written: descriptors with their comments."""

import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).parents[3] / "protos"

# Field numbers of descriptor.proto, of which the paths of source info are made.
_PARTS = {
    FileDescriptorProto: {"message_type": 4, "enum_type": 5, "service": 6, "extension": 7},
    "DescriptorProto": {"field": 2, "nested_type": 3, "enum_type": 4, "oneof_decl": 8},
    "EnumDescriptorProto": {"value": 2},
    "ServiceDescriptorProto": {"method": 2},
}


def compiled() -> list[FileDescriptorProto]:
    """Every proto of ours, compiled with its source info."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.glob("opportune/**/*.proto"))
    includes = [
        str(PROTOS),
        str(files("grpc_tools") / "_proto"),
        str(Path(str(files("google.rpc") / "status.proto")).parents[2]),
    ]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "set.binpb")
        arguments = ["--include_source_info", f"--descriptor_set_out={output}"]
        assert protoc.main(["protoc", *(f"-I{path}" for path in includes), *arguments, *sources]) == 0
        return list(FileDescriptorSet.FromString(output.read_bytes()).file)


def elements(file: FileDescriptorProto) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The name of every element of a file with its path in the source info. Map entries are nobody's own."""
    yield from _elements(file, ())


def comments(name: str) -> dict[str, str]:
    """The comment of every element of a proto, by its name; empty where there is none."""
    file = next(file for file in compiled() if file.name == name)
    found = {tuple(location.path): location.leading_comments.strip() for location in file.source_code_info.location}
    return {element.rpartition(".")[2]: found.get(path, "") for element, path in elements(file)}


def _elements(parent: object, path: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    kind = type(parent)
    for part, number in _PARTS.get(kind, _PARTS.get(kind.__name__, {})).items():
        for place, child in enumerate(getattr(parent, part)):
            if part == "nested_type" and child.options.map_entry:
                continue
            child_path = (*path, number, place)
            yield f"{getattr(parent, 'name', '')}.{child.name}", child_path
            yield from _elements(child, child_path)
