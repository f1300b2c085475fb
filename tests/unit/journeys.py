"""A value's whole way, through every form: from the edge into the method, and from the method back to the edge."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.codec import Layout
from orchestrator.codec.registry import codec_of
from orchestrator.sdk.annotations import adapter_of, describe
from orchestrator.spec import ApiSpec, ArgumentSpec, BatchPolicy, ServiceSpec, ValueSpec

__all__ = ["Folder", "arrive", "give", "sent_back"]

POLICY = BatchPolicy(max_batch_size=100, max_latency_ms=1000, queue_delay_us=0)


@dataclass
class Folder:
    """The workspace of a call."""

    path: Path

    def folder(self) -> Path:
        self.path.mkdir(exist_ok=True)
        return self.path


def layout_of(argument: ValueSpec, result: ValueSpec, *, rows: bool) -> Layout:
    api = ApiSpec(
        name="run",
        route="/run",
        arguments=(ArgumentSpec(name="x", value=argument),),
        result=result,
        batch=POLICY if rows else None,
    )
    service = ServiceSpec(name="S", target="s:S", apis=(api,))
    return Layout.of(ServiceSpec.parse(service.document()), api)


def arrive(annotation: Any, sent: Any, folder: Path, *, rows: bool = False) -> Any:
    """What the method gets for what a caller sends (a JSON value, or the server's `Blob`s)."""
    value = describe(annotation, "argument", rows=rows)
    codec = codec_of(value.kind)
    plain = TypeAdapter(codec.edge_type(value)).validate_python(sent)
    layout = layout_of(
        value, describe(int, "result") if not rows else describe(list[int], "result", rows=True), rows=rows
    )
    packed = layout.pack({"x": plain})
    for spec in layout.inputs():
        if spec.name in packed.tensors:
            tensor = packed.tensors[spec.name]
            assert tensor.dtype == spec.dtype.numpy
            assert tensor.ndim == len(spec.shape)
            assert all(have == want for have, want in zip(tensor.shape, spec.shape, strict=True) if want != -1)
    plain = layout.unpack(packed.tensors, packed.parameters)["x"]
    return codec.to_python(value, plain, adapter_of(annotation), Folder(folder))


def give(annotation: Any, python: Any, *, rows: bool = False) -> Any:
    """The plain form, at the edge, of what the method returns."""
    value = describe(annotation, "result", rows=rows)
    argument = describe(list[int], "argument", rows=True) if rows else describe(int, "argument")
    layout = layout_of(argument, value, rows=rows)
    packed = layout.pack_result(codec_of(value.kind).from_python(value, python, adapter_of(annotation)))
    return layout.unpack_result(packed.tensor, packed.hint)


def sent_back(annotation: Any, python: Any, *, rows: bool = False) -> bytes:
    """The JSON form of what the method returns."""
    value = describe(annotation, "result", rows=rows)
    return codec_of(value.kind).to_json(value, give(annotation, python, rows=rows))
