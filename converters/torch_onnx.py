"""PyTorch to ONNX: a module, or a TorchScript file."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.onnx_file import opset_from
from converters.packages import framework_of, need
from converters.samples import arrays_of
from converters.torch_export import converted_module
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted

__all__ = ["TorchToOnnx"]

_ENDINGS: Final = (".pt", ".pth", ".ts", ".torchscript")


class TorchToOnnx:
    """Inputs are named as `forward` names them. Axis 0 is the batch axis; axis 1 of whole numbers (token ids) is free as well."""

    source = "torch"
    target = "onnx"
    description = "a PyTorch module or TorchScript file (.pt, .pth); needs a sample"
    options: Mapping[str, str] = {
        "opset": "ONNX opset, 17 unless given",
        "inputs": "names of the inputs, with commas; those of forward unless given",
        "outputs": "names of the outputs, with commas; keys of the module's dictionary, or output, unless given",
        "free_axes": "axes of any length besides the batch axis, with commas: 2,3 for images of any size",
    }

    def matches(self, model: object) -> bool:
        return framework_of(model) == "torch" and hasattr(model, "forward")

    def load(self, path: Path) -> object:
        if not path.is_file():
            raise ConversionError(f"there is no file {path}")
        torch = need("torch")
        try:
            return torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError):
            pass
        try:
            found = torch.load(path, map_location="cpu", weights_only=False)
        except Exception as error:  # a pickle runs anybody's code
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise ConversionError(
                f"{path} is neither TorchScript nor a pickled module: {reason}",
                hint=f"a file such as {', '.join(_ENDINGS)}",
            ) from error
        if not isinstance(found, torch.nn.Module):
            raise ConversionError(
                f"{path} holds a {type(found).__name__} and not a module: weights do not say what is computed with them",
                hint="save torch.jit.script(module), or convert the module from Python",
            )
        return found

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        need("torch")
        names = _listed(options.get("inputs")) or _arguments(model, sample)
        arrays = {name: _narrow(model, array) for name, array in arrays_of(names, sample).items()}
        for name, array in arrays.items():
            if not array.ndim or not len(array):
                raise ConversionError(
                    f"the sample's {name!r} has shape {list(array.shape)}", hint="axis 0 is the batch axis"
                )
        wanted = _axes(options.get("free_axes"))
        free = {
            name: {0: "batch", **{axis: f"axis_{axis}" for axis in wanted if axis < array.ndim}}
            for name, array in arrays.items()
        }
        tokens = {
            name: {1: "sequence"} for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "iu"
        }
        return converted_module(
            model,
            arrays,
            folder,
            free=free,
            maybe_free={} if 1 in wanted else tokens,
            outputs=_listed(options.get("outputs")) or None,
            opset=opset_from(options),
        )


def _arguments(module: Any, sample: object) -> list[str]:
    """The arguments of forward, as many as the sample has: the others have defaults."""
    if isinstance(sample, Mapping):
        found = _parameters(module)
        return [name for name in found if name in sample] if set(sample) <= set(found) else list(sample)
    count = len(sample) if isinstance(sample, Sequence) else 1
    found = _parameters(module)
    return found[:count] if len(found) >= count else [f"input_{index}" for index in range(count)]


def _parameters(module: Any) -> list[str]:
    if hasattr(module, "graph"):
        # A traced or scripted module: `self`, then names such as `x.1`.
        return [value.debugName().partition(".")[0] for value in module.graph.inputs()][1:]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, each in inspect.signature(module.forward).parameters.items() if each.kind in kinds]


def _narrow(module: Any, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    weights = [weight for weight in module.parameters() if weight.is_floating_point()]
    width = weights[0].dtype if weights else None
    torch = need("torch")
    names = {torch.float64: np.float64, torch.float16: np.float16}
    return array.astype(names.get(width, np.float32))


def _listed(words: Any) -> list[str]:
    if words is None:
        return []
    return [word.strip() for word in words.split(",")] if isinstance(words, str) else list(words)


def _axes(given: Any) -> list[int]:
    try:
        return [int(axis) for axis in (_listed(given) if isinstance(given, str) or given is None else given)]
    except (TypeError, ValueError):
        raise ConversionError(
            f"free_axes={given!r} is not a list of axes", hint="numbers with commas, such as 2,3"
        ) from None
