"""torch.onnx.export, the same for every torch from 2.4 on, with the axes free that really are."""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.onnx_file import FILE, write_onnx
from converters.packages import need
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted
from orchestrator.spec.model import ModelFormat

__all__ = ["Axes", "converted_module", "tensors_of"]

Axes = Mapping[str, Mapping[int, str]]
"""Free axes by input or output: position -> name. The same name is the same length."""
NO_AXES: Final[Axes] = MappingProxyType({})
_TRACED_ROWS: Final = 2
"""Not 1: what broadcasts along one row is traced as if it always would."""


def converted_module(
    module: Any,
    arrays: Mapping[str, NDArray[Any]],
    folder: Path,
    *,
    free: Axes,
    maybe_free: Axes = NO_AXES,
    outputs: Sequence[str] | None = None,
    opset: int,
    notes: Sequence[str] = (),
) -> Converted:
    """Writes a `torch.nn.Module` as `model.onnx`.

    Args:
        arrays: a sample, in the order of the module's arguments.
        free: axes of the inputs that callers may choose.
        maybe_free: likewise, of those with which the module runs when their length changes.
        outputs: their names; None: the keys of a dictionary, or `output`, or `output_0` and so on.

    Raises:
        ConversionError: the module does not take the sample, or torch cannot export it.
    """
    need("torch")
    first = _run(module, arrays)
    names = _names(first, outputs)
    found = {name: dict(axes) for name, axes in free.items()}
    _add_those_that_are_free(module, arrays, found, maybe_free)
    free_outputs = _free_outputs(module, arrays, found, names)
    traced = {name: np.resize(array, (_TRACED_ROWS, *array.shape[1:])) for name, array in arrays.items()}
    proto = _exported(module, traced if _has_batch(found, arrays) else arrays, names, {**found, **free_outputs}, opset)
    _declare(proto, dict(zip(names, first.values(), strict=True)), free_outputs)
    signature = write_onnx(proto, folder)

    def run(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        return dict(zip(names, _run(module, {name: given[name] for name in arrays}).values(), strict=True))

    return Converted(
        format=ModelFormat.ONNX,
        file=FILE,
        signature=signature,
        original=run,
        sample=arrays,
        notes=(f"opset {opset}", *notes),
    )


def tensors_of(module: Any, arrays: Sequence[NDArray[Any]]) -> list[Any]:
    """Arrays as the module takes them: on its device, floats as wide as its weights."""
    torch = need("torch")
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    floats = weights[0].dtype if weights else torch.float32
    device = weights[0].device if weights else "cpu"
    tensors = (torch.from_numpy(np.array(array)).to(device) for array in arrays)
    return [tensor.to(floats) if tensor.is_floating_point() else tensor for tensor in tensors]


def _exported(module: Any, arrays: Mapping[str, NDArray[Any]], outputs: Sequence[str], free: Axes, opset: int) -> Any:
    torch, onnx = need("torch"), need("onnx")
    written = io.BytesIO()
    settings: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        # The exporter that traces TorchScript needs no further package; the other one needs onnxscript.
        settings["dynamo"] = False
    try:
        with _evaluated(module), _silent():
            torch.onnx.export(
                module,
                tuple(tensors_of(module, list(arrays.values()))),
                written,
                input_names=list(arrays),
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in free.items()},
                opset_version=opset,
                **settings,
            )
    except Exception as error:  # torch raises RuntimeError, its own OnnxExporterError and what the module raises
        raise ConversionError(f"torch cannot export this {type(module).__name__}: {_reason(error)}") from error
    proto = onnx.load_model_from_string(written.getvalue())
    kept = {value.name for value in proto.graph.input}
    for name in arrays:
        if name not in kept:
            raise ConversionError(
                f"the model does not use its input {name!r}", hint="wrap it in a module without that argument"
            )
    return proto


def _declare(proto: Any, outputs: Mapping[str, NDArray[Any]], free: Axes) -> None:
    """The exporter leaves axes open whose length it cannot infer; here they are known."""
    for output in proto.graph.output:
        for axis, dim in enumerate(output.type.tensor_type.shape.dim):
            if axis not in free[output.name]:
                dim.ClearField("dim_param")
                dim.dim_value = outputs[output.name].shape[axis]


def _run(module: Any, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """One run: arrays by the output's own key, or its position."""
    try:
        with _evaluated(module):
            answer = module(*tensors_of(module, list(arrays.values())))
    except Exception as error:  # the user's module
        shapes = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in arrays.items())
        raise ConversionError(
            f"the module does not take the sample ({shapes}): {_reason(error)}", hint="give a sample that it takes"
        ) from error
    return {name: each.detach().cpu().numpy() for name, each in _flat(answer).items()}


def _flat(answer: Any) -> dict[str, Any]:
    torch = need("torch")
    if isinstance(answer, torch.Tensor):
        return {"output": answer}
    if isinstance(answer, Mapping):
        pairs = [(str(key), value) for key, value in answer.items()]
    elif isinstance(answer, tuple) and hasattr(answer, "_fields"):
        pairs = list(zip(answer._fields, answer, strict=True))
    elif isinstance(answer, list | tuple):
        pairs = [(f"output_{index}", value) for index, value in enumerate(answer)]
    else:
        raise ConversionError(
            f"the module gives a {type(answer).__name__}", hint="tensors, or a dictionary or tuple of them"
        )
    for name, value in pairs:
        if not isinstance(value, torch.Tensor):
            raise ConversionError(
                f"the module's output {name!r} is a {type(value).__name__}",
                hint="wrap it in a module that gives tensors, or a dictionary or tuple of them",
            )
    return dict(pairs)


def _names(answer: Mapping[str, Any], given: Sequence[str] | None) -> list[str]:
    if given is None:
        return list(answer)
    if len(given) != len(answer):
        raise ConversionError(
            f"{len(given)} names for {len(answer)} outputs", hint=f"the module gives {', '.join(answer)}"
        )
    return list(given)


def _has_batch(free: Axes, arrays: Mapping[str, NDArray[Any]]) -> bool:
    return all(0 in free.get(name, {}) for name in arrays)


def _add_those_that_are_free(
    module: Any, arrays: Mapping[str, NDArray[Any]], free: dict[str, dict[int, str]], maybe_free: Axes
) -> None:
    for label in dict.fromkeys(label for axes in maybe_free.values() for label in axes.values()):
        only = {name: {at: each for at, each in axes.items() if each == label} for name, axes in maybe_free.items()}
        try:
            _run(module, _resized(arrays, only, label))
        except ConversionError:
            continue
        for name, axes in only.items():
            free.setdefault(name, {}).update(axes)


def _free_outputs(
    module: Any, arrays: Mapping[str, NDArray[Any]], free: Axes, names: Sequence[str]
) -> dict[str, dict[int, str]]:
    """The outputs' axes that change with each of the inputs'."""
    before = list(_run(module, arrays).values())
    found: dict[str, dict[int, str]] = {name: {} for name in names}
    for label in dict.fromkeys(label for axes in free.values() for label in axes.values()):
        after = _run(module, _resized(arrays, free, label)).values()
        for name, one, other in zip(names, before, after, strict=True):
            for axis, (length, changed) in enumerate(zip(one.shape, other.shape, strict=False)):
                if length != changed:
                    found[name][axis] = label
    return found


def _resized(arrays: Mapping[str, NDArray[Any]], free: Axes, label: str) -> dict[str, NDArray[Any]]:
    """The same, with half the length along every axis of a name, or twice a length of one."""
    resized = dict(arrays)
    for name, axes in free.items():
        for axis in (at for at, each in axes.items() if each == label):
            length = resized[name].shape[axis]
            indices = np.arange(length // 2 if length > 1 else 2) % length
            resized[name] = np.take(resized[name], indices, axis=axis)
    return resized


@contextlib.contextmanager
def _evaluated(module: Any) -> Iterator[None]:
    """Without dropout and gradients; the module is afterwards as it was."""
    torch = need("torch")
    before = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(before)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter warns of its own age, and the tracer of every `if` in the module: the gate sees what matters of that."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
