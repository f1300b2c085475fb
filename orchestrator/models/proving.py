"""What a framework's model takes and gives, found by running it; and the sample that every later copy is proved with."""

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import CallError, StoreError
from orchestrator.formats import Sample, compare, open_model
from orchestrator.models.faults import as_store_error
from orchestrator.spec import ANY, DType, ModelFormat, ModelSignature, NativeModelSpec, TensorSpec

__all__ = ["Given", "prove", "run_model"]

Given = Any
"""A sample as users have it: an array, a data frame, several arrays in a sequence, arrays by name."""
Arrays = dict[str, NDArray[Any]]
_ROWS: Final = 8
_SIZES: Final = (1, 3)


def run_model(model: Any, framework: str, method: str, sample: Given) -> tuple[ModelSignature, Sample]:
    """Runs a model with a sample.

    Args:
        method: that a call runs; empty for TorchScript.
        sample: one row or more.

    Returns:
        Its signature, with a batch axis where the outputs have as many rows as the inputs for several numbers of rows;
        and at most 8 rows with what the model gives for them.

    Raises:
        StoreError: it does not take the sample, or gives what Triton has no tensor for.
    """
    call = _call(model, framework, method)
    script = framework == "torchscript"
    inputs = _inputs(sample, _names(model, method, script=script))
    whole = _outputs(call, inputs, script=script)
    batched = _is_batched(call, inputs, whole, script=script)
    signature = ModelSignature(
        inputs=tuple(_spec(name, array, batched) for name, array in inputs.items()),
        outputs=tuple(_spec(name, array, batched) for name, array in whole.items()),
        batched=batched,
    )
    if batched:
        inputs, whole = _taken(inputs, slice(_ROWS)), _taken(whole, slice(_ROWS))
    return signature, Sample(inputs, whole)


def prove(
    folder: Path,
    *,
    format: ModelFormat,
    file: str,
    framework: str,
    method: str,
    signature: ModelSignature,
    sample: Given,
    expected: Mapping[str, NDArray[Any]] | None = None,
    tolerance: tuple[float, float],
) -> Sample:
    """Opens the file that was written, as a server will, and runs the sample.

    Args:
        expected: what the model itself gave; None where nobody has run it.
        tolerance: (relative, absolute) difference from that.

    Raises:
        StoreError: the file cannot be run, or gives something else.
    """
    inputs = _inputs(sample, [each.name for each in signature.inputs])
    inputs = {each.name: _cast(each, inputs[each.name]) for each in signature.inputs if each.name in inputs}
    if signature.batched:
        inputs = _taken(inputs, slice(_ROWS))
    spec = NativeModelSpec(
        attribute="stored",
        name="stored",
        format=format,
        file=file,
        framework=framework,
        method=method,
        signature=signature,
        files_digest="",
    )
    with as_store_error(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = open_model(folder, spec)
        try:
            outputs = opened.run(inputs)
        except CallError as error:
            raise StoreError(f"{file} does not take the sample: {error}") from error
        finally:
            opened.close()
    for name, wanted in (expected or {}).items():
        if difference := compare(wanted, outputs[name], tolerance):
            raise StoreError(f"{file} is not the model that was given: for the sample, {name}: {difference}")
    return Sample(inputs, expected or outputs)


def _call(model: Any, framework: str, method: str) -> Callable[..., Any]:
    if framework in ("torch", "torchscript"):
        return lambda *arrays: _call_torch(model, arrays)
    found = getattr(model, method)
    if framework == "xgboost" and type(model).__name__ == "Booster":
        from xgboost import DMatrix

        return lambda array: found(DMatrix(array))
    return found  # type: ignore[no-any-return]


def _call_torch(model: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return model(*(torch.from_numpy(array.copy()) for array in arrays))
    finally:
        model.train(was_training)


def _names(model: Any, method: str, *, script: bool) -> list[str]:
    """Names of the positional parameters; Triton's convention for TorchScript, which has none."""
    if script:
        return []
    written = ("forward", "call") if method == "__call__" else ()  # by users of torch and of Keras
    function = next((getattr(model, name) for name in (*written, method) if hasattr(model, name)), model)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [each.name for each in parameters if each.kind in positional]


def _inputs(sample: Given, names: Sequence[str]) -> Arrays:
    """The sample as arrays by name."""
    if hasattr(sample, "columns") and hasattr(sample, "to_numpy"):
        given = [sample.to_numpy()]
    elif isinstance(sample, Mapping):
        return {str(name): _array(value) for name, value in sample.items()}
    else:
        several = isinstance(sample, list | tuple) and len(sample) > 0 and isinstance(sample[0], np.ndarray)
        given = list(sample) if several else [sample]
    usual = [names[i] if i < len(names) else f"INPUT__{i}" for i in range(len(given))]
    return {name: _array(value) for name, value in zip(usual, given, strict=True)}


def _array(value: Any) -> NDArray[Any]:
    array = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    if array.dtype.kind in "SU":
        array = array.astype(object)
    if array.dtype.kind == "O" and not all(isinstance(each, str | bytes) for each in array.reshape(-1)):
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise StoreError(
                "the sample mixes texts with other values, and a tensor has one type",
                hint="to='onnx' makes an input of each column",
            ) from None
    return array


def _outputs(call: Callable[..., Any], inputs: Arrays, *, script: bool) -> Arrays:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call(*inputs.values())
        except Exception as error:  # whatever a framework raises
            reason = " ".join(str(error).split())[:300]
            raise StoreError(f"the model does not take the sample: {type(error).__name__}: {reason}") from error
    if hasattr(result, "toarray"):
        raise StoreError(
            "the model gives a sparse matrix, and Triton has no such tensor", hint="to='onnx' gives a plain one"
        )
    if isinstance(result, Mapping):
        return {str(name): _array(value) for name, value in result.items()}
    several = isinstance(result, tuple) or (
        isinstance(result, list) and len(result) > 1 and all(hasattr(each, "shape") and each.shape for each in result)
    )
    values = list(result) if several else [result]
    single = len(values) == 1 and not script
    names = ["output"] if single else [f"OUTPUT__{i}" for i in range(len(values))]
    return {name: _array(value) for name, value in zip(names, values, strict=True)}


def _is_batched(call: Callable[..., Any], inputs: Arrays, whole: Arrays, *, script: bool) -> bool:
    lengths = {len(array) if array.ndim else None for array in inputs.values()}
    rows = lengths.pop()
    if lengths or not rows:
        return False
    for size in _SIZES:
        try:
            found = _outputs(call, _taken(inputs, np.arange(size) % rows), script=script)
        except StoreError:
            return False
        for name, array in whole.items():
            if array.shape[:1] != (rows,) or found[name].shape != (size, *array.shape[1:]):
                return False
    return True


def _taken(arrays: Mapping[str, NDArray[Any]], rows: Any) -> Arrays:
    return {name: array[rows] for name, array in arrays.items()}


def _spec(name: str, array: NDArray[Any], batched: bool) -> TensorSpec:
    try:
        dtype = DType.BYTES if array.dtype.kind == "O" else DType.of(array.dtype.name)
    except KeyError:
        raise StoreError(f"{name} is of {array.dtype.name}, and Triton has no such tensor") from None
    return TensorSpec(name=name, dtype=dtype, shape=(ANY, *array.shape[1:]) if batched else array.shape)


def _cast(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    return array if spec.dtype is DType.BYTES or array.dtype.kind == "O" else array.astype(spec.dtype.numpy)
