"""An ONNX file with axes made free that it has fixed: only where the model really runs with other lengths."""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.batch_axis import LENGTHS, attempt
from orchestrator.formats.files import MAIN_NAMES
from orchestrator.formats.onnx_graph import external_files, read_proto, tensors_in
from orchestrator.formats.onnx_session import OnnxSession
from orchestrator.formats.sample import compare
from orchestrator.spec import ANY, ModelFormat, ModelSignature, TensorSpec

__all__ = ["DynamicAxes", "free_axes"]

DynamicAxes = Mapping[str, Sequence[int] | Mapping[int, str]]
"""Tensor -> the axes of it that are to be free, with or without symbols, as torch.onnx has it."""
_BATCH: Final = "batch"
_TOLERANCE: Final = (1e-3, 1e-4)
_AGAIN: Final = "export the model again with these axes dynamic: torch.onnx.export(..., dynamic_axes=...)"


def free_axes(path: Path, axes: DynamicAxes, folder: Path) -> Path:
    """Writes a copy of a model in which axes are free, and proves it by running it with twice their length.

    Where axis 0 of every input is free then, it is the batch axis: two batches run together must give what each gives
    alone. Axes of outputs that grow with the inputs become free by themselves.

    Args:
        axes: axes of the same number have the same length in every input, unless symbols say otherwise.
        folder: gets the file, and its external weights beside it.

    Returns:
        The new file.

    Raises:
        DefinitionError: there is no such tensor or axis, or the model does not run that way.
    """
    model = read_proto(path)
    named = _symbols(path, model, axes)
    graph = model.graph
    inputs, outputs = ([t.spec() for t in tensors] for tensors in tensors_in(model))
    for value in (*graph.input, *graph.output):
        for axis, symbol in named.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = symbol
    del graph.value_info[:]  # shapes inside the graph, as they were for the fixed length
    folder.mkdir(parents=True, exist_ok=True)
    # Weights first: onnxruntime looks for them beside the model.
    for name, source in external_files(path).items():
        _place(source, folder / name)
    descriptor, name = tempfile.mkstemp(prefix=".", suffix=".onnx", dir=folder)
    os.close(descriptor)
    fresh, place = Path(name), folder / MAIN_NAMES[ModelFormat.ONNX]
    try:
        fresh.write_bytes(model.SerializeToString())
        grown = _prove(path, fresh, named, inputs, outputs)
        for value in graph.output:
            for axis, symbol in grown[value.name].items():
                value.type.tensor_type.shape.dim[axis].dim_param = symbol
        fresh.write_bytes(model.SerializeToString())
        fresh.chmod(0o644)
        os.replace(fresh, place)
    finally:
        fresh.unlink(missing_ok=True)
    return place


def _symbols(path: Path, model: Any, axes: DynamicAxes) -> dict[str, dict[int, str]]:
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in (*model.graph.input, *model.graph.output)}
    named: dict[str, dict[int, str]] = {}
    for tensor, given in axes.items():
        if tensor not in ranks:
            raise DefinitionError(f"dynamic_axes: there is no {tensor!r}: it has {', '.join(ranks)}", file=str(path))
        symbols = dict(given) if isinstance(given, Mapping) else {axis: _usual(axis) for axis in given}
        for axis in symbols:
            if not 0 <= axis < ranks[tensor]:
                raise DefinitionError(f"dynamic_axes: {tensor!r} has {ranks[tensor]} axes, no {axis}", file=str(path))
        named[tensor] = symbols
    return named


def _usual(axis: int) -> str:
    return f"axis_{axis}" if axis else _BATCH


def _prove(
    path: Path,
    fresh: Path,
    named: Mapping[str, Mapping[int, str]],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> dict[str, dict[int, str]]:
    """Runs the new file with each of the symbols doubled.

    Returns:
        Axes of outputs that grew -> symbol.
    """
    session = OnnxSession(fresh, threads=1)
    grown: dict[str, dict[int, str]] = {output.name: dict(named.get(output.name, {})) for output in outputs}
    try:
        base, length = _first_run(path, session, named, inputs, outputs)
        names = {tensor.name for tensor in inputs}
        for symbol in sorted({s for name, found in named.items() if name in names for s in found.values()}):
            tensors = [_lengthened(tensor, named.get(tensor.name, {}), symbol) for tensor in inputs]
            ran = attempt(session, _fixed(tensors, outputs), 1, length)
            if ran is None:
                raise DefinitionError(
                    f"dynamic_axes: the model does not run with {symbol} twice as long", file=str(path), hint=_AGAIN
                )
            for name, array in ran[1].items():
                for axis, (before, after) in enumerate(zip(base[name].shape, array.shape, strict=True)):
                    if before != after:
                        grown[name].setdefault(axis, _BATCH if axis == 0 else f"{name}_{axis}")
            if all(named.get(tensor.name, {}).get(0) == symbol for tensor in inputs):
                _prove_rows(path, session, *ran)
    finally:
        session.close()
    return grown


def _first_run(
    path: Path,
    session: OnnxSession,
    named: Mapping[str, Mapping[int, str]],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> tuple[Mapping[str, NDArray[Any]], int]:
    for length in LENGTHS:
        ran = attempt(session, _fixed(inputs, outputs), 1, length)
        if ran is not None:
            return ran[1], length
    raise DefinitionError("dynamic_axes: the model does not run with generated inputs", file=str(path), hint=_AGAIN)


def _fixed(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> ModelSignature:
    return ModelSignature(inputs=tuple(inputs), outputs=tuple(outputs))


def _lengthened(tensor: TensorSpec, symbols: Mapping[int, str], symbol: str) -> TensorSpec:
    shape = tuple(
        2 * length if symbols.get(axis) == symbol and length != ANY else length
        for axis, length in enumerate(tensor.shape)
    )
    return tensor.model_copy(update={"shape": shape})


def _prove_rows(
    path: Path, session: OnnxSession, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
) -> None:
    """Both halves of a batch, each alone."""
    rows = len(next(iter(inputs.values())))
    for name, array in outputs.items():
        if array.ndim == 0 or len(array) != rows:
            raise DefinitionError(
                f"dynamic_axes: with {rows} rows {name!r} has shape {list(array.shape)}", file=str(path), hint=_AGAIN
            )
    halves = [
        session.run({name: array[part] for name, array in inputs.items()}, list(outputs))
        for part in (slice(rows // 2), slice(rows // 2, rows))
    ]
    for name, array in outputs.items():
        different = compare(np.concatenate([half[name] for half in halves]), array, _TOLERANCE)
        if different:
            raise DefinitionError(
                f"dynamic_axes: {name!r} of {rows} rows is not what the rows give alone: {different}",
                file=str(path),
                hint=_AGAIN,
            )


def _place(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() and place.samefile(source):
        return
    place.unlink(missing_ok=True)
    try:
        os.link(source, place)
    except OSError:  # another file system
        shutil.copyfile(source, place)
