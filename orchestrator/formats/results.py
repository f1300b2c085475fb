"""What a framework's model returns, as the named arrays of a signature."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import OutputMismatch
from orchestrator.formats.tensors import bytes_of, fits
from orchestrator.spec import DType, ModelSignature, TensorSpec

__all__ = ["named"]


def named(result: Any, signature: ModelSignature, outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The wanted ones of a result: one array, several by position, or a mapping by name.

    Raises:
        OutputMismatch: it is not what the signature says.
    """
    specs = signature.outputs
    if isinstance(result, Mapping):
        by_name = dict(result)
    elif len(specs) == 1 and not (isinstance(result, tuple) and len(result) == 1):
        by_name = {specs[0].name: result}
    else:
        several = list(result) if isinstance(result, list | tuple) else [result]
        if len(several) != len(specs):
            raise OutputMismatch(f"the model gave {len(several)} outputs, and its signature has {len(specs)}")
        by_name = {spec.name: each for spec, each in zip(specs, several, strict=True)}
    missing = [spec.name for spec in specs if spec.name in outputs and spec.name not in by_name]
    if missing:
        raise OutputMismatch(f"the model gave no output {missing[0]!r}: it gave {', '.join(map(str, by_name))}")
    arrays = {spec.name: _array(spec, by_name[spec.name]) for spec in specs if spec.name in outputs}
    return {name: arrays[name] for name in outputs}


def _array(spec: TensorSpec, value: Any) -> NDArray[Any]:
    array = np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
    if spec.dtype is DType.BYTES:
        array = bytes_of(array if array.dtype.kind in "OSU" else array.astype(np.str_))
    elif array.dtype.kind in "OSU" or not np.can_cast(array.dtype, spec.dtype.numpy, "same_kind"):
        raise OutputMismatch(f"output {spec.name!r} is {array.dtype.name}, and its signature says {spec.dtype}")
    else:
        array = array.astype(spec.dtype.numpy, copy=False)
    if not fits(array.shape, spec.shape):
        raise OutputMismatch(
            f"output {spec.name!r} has shape {list(array.shape)}, and its signature says {list(spec.shape)}"
        )
    return array
