"""What a model of tables is called with, and the same as tensors: one table, or a column each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.packages import need
from orchestrator.errors import ConversionError

__all__ = ["EstimatorInputs", "inputs_of"]

NAME: Final = "X"
"""Of the only input, as in the signatures of scikit-learn."""


@dataclass(frozen=True, slots=True)
class EstimatorInputs:
    """Inputs of the converted model, and the way back.

    Attributes:
        arrays: one sample, float32 (or float64), int64 or text; of a column, shape (rows, 1). No rows where nobody gave one.
        joined: what the estimator itself takes, from arrays of these names.
    """

    arrays: Mapping[str, NDArray[Any]]
    joined: Callable[[Mapping[str, NDArray[Any]]], Any]

    @property
    def sample(self) -> Mapping[str, NDArray[Any]] | None:
        """The arrays, where they have rows."""
        return self.arrays if all(len(array) for array in self.arrays.values()) else None


def inputs_of(
    sample: Any,
    *,
    features: int | None,
    order: Sequence[str] = (),
    by_column: bool = False,
    floats: type[np.floating[Any]] = np.float32,
) -> EstimatorInputs:
    """Reads a sample as users of such models have it: an array, a data frame, columns by name, texts.

    Args:
        features: columns of the table, where the model knows.
        order: names of the columns, where the model knows.
        by_column: the model picks columns by name, so each is an input of its own.
        floats: what numbers become; whole numbers in a column of their own stay whole.

    Raises:
        ConversionError: there is no sample and the model says too little of its inputs, or the sample is not a table.
    """
    if sample is None:
        if by_column:
            raise ConversionError(
                "the model picks columns by name, and does not say of which types they are",
                hint="give a sample: a few rows as a data frame, or columns by name",
            )
        if features is None:
            raise ConversionError(
                "the model does not say how many features it takes", hint="give a sample of its inputs"
            )
        return _one(NAME, np.empty((0, features), dtype=floats))
    columns = _columns(sample)
    if columns is not None and by_column:
        return _many({name: _column(name, values, floats) for name, values in columns.items()})
    if columns is not None and len(columns) > 1:
        names = _ordered(list(columns), order)
        return _one(NAME, _table(np.column_stack([columns[name] for name in names]), floats, features))
    if columns is not None:
        ((name, values),) = columns.items()
        return _one(name, _table(values, floats, features))
    if isinstance(sample, Sequence) and len(sample) == 1 and isinstance(sample[0], np.ndarray):
        sample = sample[0]
    return _one(NAME, _table(np.asarray(sample), floats, features))


def _ordered(columns: Sequence[str], order: Sequence[str]) -> Sequence[str]:
    """The columns in the model's order, where it knows their names; LightGBM has underscores for their blanks."""
    by_name = {name.replace(" ", "_"): name for name in columns}
    wanted = [name.replace(" ", "_") for name in order]
    missing = [name for name in wanted if name not in by_name]
    if len(missing) == len(wanted):
        return columns
    if missing:
        raise ConversionError(f"the sample has no column {missing[0]!r}", hint=f"it has {', '.join(columns)}")
    return [by_name[name] for name in wanted]


def _one(name: str, array: NDArray[Any]) -> EstimatorInputs:
    flat = array.ndim == 1

    def joined(arrays: Mapping[str, NDArray[Any]]) -> Any:
        given = arrays[name]
        if given.dtype.kind in "OSU":
            given = _text(given)
            return given.reshape(-1) if flat else given
        # As narrow as the converted model has it, but computed as the estimator was fitted.
        return given.astype(np.float64)

    return EstimatorInputs({name: array[:, None] if flat else array}, joined)


def _many(columns: Mapping[str, NDArray[Any]]) -> EstimatorInputs:
    def joined(arrays: Mapping[str, NDArray[Any]]) -> Any:
        plain = {name: arrays[name].reshape(-1) for name in columns}
        return need("pandas").DataFrame(
            {
                name: _text(array)
                if array.dtype.kind in "OSU"
                else array.astype(np.float64 if array.dtype.kind == "f" else array.dtype)
                for name, array in plain.items()
            }
        )

    return EstimatorInputs(dict(columns), joined)


def _columns(sample: Any) -> dict[str, NDArray[Any]] | None:
    if hasattr(sample, "columns") and hasattr(sample, "to_numpy"):
        return {str(name): sample[name].to_numpy() for name in sample.columns}
    if isinstance(sample, Mapping):
        return {str(name): np.asarray(values) for name, values in sample.items()}
    return None


def _column(name: str, values: NDArray[Any], floats: type[np.floating[Any]]) -> NDArray[Any]:
    values = values.reshape(len(values), -1)
    if values.shape[1] != 1:
        raise ConversionError(
            f"the sample's column {name!r} has {values.shape[1]} values a row", hint="one is a column"
        )
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    if values.dtype.kind in "OSU":
        return _text(values)
    return values.astype(floats)


def _table(values: NDArray[Any], floats: type[np.floating[Any]], features: int | None) -> NDArray[Any]:
    if values.ndim and not len(values):
        raise ConversionError("the sample has no rows", hint="one row is enough, more show more")
    if values.dtype.kind in "OSU" and not _all_numbers(values):
        return _text(values)
    if values.ndim != 2:
        raise ConversionError(f"the sample has shape {list(values.shape)}", hint="a table has rows and columns")
    if features is not None and values.shape[1] != features:
        raise ConversionError(f"the sample has {values.shape[1]} columns", hint=f"the model takes {features}")
    return values.astype(floats)


def _all_numbers(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "O" and all(isinstance(each, int | float | np.number) for each in values.reshape(-1))


def _text(array: NDArray[Any]) -> NDArray[np.object_]:
    out = np.empty(array.size, dtype=object)
    out[:] = [each.decode() if isinstance(each, bytes) else str(each) for each in array.reshape(-1)]
    return out.reshape(array.shape)
