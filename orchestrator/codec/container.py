"""Tensors of torch and tensorflow, for methods that want them instead of numpy arrays.

Neither package is imported here before a method that names it is called.
"""

from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTAINERS", "concatenated", "container_of", "dtype_key", "parts_of", "tensor_from", "to_numpy"]

CONTAINERS: Final = {
    ("torch", "Tensor"): "torch",
    ("tensorflow", "Tensor"): "tensorflow",
    ("tensorflow", "EagerTensor"): "tensorflow",
}
"""Package and name of a tensor class -> `ValueSpec.container`."""


def container_of(cls: type) -> str | None:
    """Which package's tensor a class is, or a class below it."""
    if cls is np.ndarray:
        return None
    names = ((base.__module__.partition(".")[0], base.__name__) for base in cls.__mro__)
    return next((CONTAINERS[name] for name in names if name in CONTAINERS), None)


def to_numpy(python: Any) -> Any:
    """A tensor as an array, from whatever device; anything else as it is.

    bfloat16 and the 8-bit floats, which numpy does not have, become float32.

    Raises:
        ValueError: it has no form as an array (ragged, quantized).
    """
    container = container_of(type(python))
    if container is None:
        return python
    try:
        return _torch_array(python) if container == "torch" else _tensorflow_array(python)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(f"this {container} tensor has no form as an array: {error}") from error


def _torch_array(tensor: Any) -> NDArray[Any]:
    import torch

    tensor = tensor.detach().cpu()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64):
        tensor = tensor.float()
    array: NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    return array


def _tensorflow_array(tensor: Any) -> NDArray[Any]:
    array: NDArray[Any] = tensor.numpy()
    return array.astype(np.float32) if array.dtype.kind == "V" else array  # bfloat16 and other types of ml_dtypes


def tensor_from(array: NDArray[Any], container: str) -> Any:
    """The array as a tensor on the CPU, which may share its memory.

    Raises:
        ValueError: the container has no such type (torch: text).
    """
    try:
        if container == "torch":
            import torch

            return torch.from_numpy(np.require(array, requirements=["C", "W"]))
        import tensorflow

        return tensorflow.convert_to_tensor(array.astype(object) if array.dtype.kind == "U" else array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an array of {array.dtype.name} cannot become a {container} tensor") from error


def concatenated(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays, or tensors of one package, one after the other."""
    match container_of(type(arrays[0])):
        case "torch":
            import torch

            return torch.cat(list(arrays), dim=axis)
        case "tensorflow":
            import tensorflow

            return tensorflow.concat(arrays, axis=axis)
        case _:
            return np.concatenate(arrays, axis=axis)


def parts_of(python: Any, sizes: Sequence[int], axis: int) -> list[Any]:
    """An array or tensor cut into parts of so many rows; tensors become arrays."""
    return np.split(np.asarray(to_numpy(python)), np.cumsum(sizes)[:-1], axis=axis)


def dtype_key(python: Any) -> Hashable:
    """Equal for arrays or tensors that can be concatenated without a change of type."""
    dtype = python.dtype
    return ("U" if dtype.kind == "U" else dtype.str) if isinstance(dtype, np.dtype) else str(dtype)
