"""A user's sample as tensors by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConversionError
from orchestrator.spec.model import ModelSignature
from orchestrator.spec.tensors import DType

__all__ = ["Given", "arrays_of", "named"]

Given = Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None
"""As `Converter.convert` takes it: by name, by position, or the only input."""


def arrays_of(names: Sequence[str], sample: Given) -> dict[str, NDArray[Any]]:
    """Arrays by input.

    Args:
        names: of all inputs, in order.

    Raises:
        ConversionError: they are not those of the sample.
    """
    wanted = ", ".join(names)
    if sample is None:
        raise ConversionError("this conversion needs a sample", hint=f"one row or more of {wanted}")
    if isinstance(sample, Mapping):
        unknown = [name for name in sample if name not in names]
        missing = [name for name in names if name not in sample]
        if unknown or missing:
            what = f"has {unknown[0]!r}, which the model has not" if unknown else f"lacks {missing[0]!r}"
            raise ConversionError(f"the sample {what}", hint=f"the model takes {wanted}")
        return {name: np.asarray(sample[name]) for name in names}
    arrays = [sample] if isinstance(sample, np.ndarray) or len(names) == 1 != len(sample) else list(sample)
    if len(arrays) != len(names):
        raise ConversionError(f"the sample has {len(arrays)} arrays", hint=f"the model takes {wanted}")
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}


def named(signature: ModelSignature, sample: Given) -> dict[str, NDArray[Any]]:
    """Arrays by input, in the signature's dtypes.

    Raises:
        ConversionError: they are not those of the sample.
    """
    arrays = arrays_of([spec.name for spec in signature.inputs], sample)
    return {
        spec.name: arrays[spec.name] if spec.dtype is DType.BYTES else arrays[spec.name].astype(spec.dtype.numpy)
        for spec in signature.inputs
    }
