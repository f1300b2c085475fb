"""How far one output of the converted model is from the original's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.conversion.reasons import cause_of
from orchestrator.spec.conversion import OutputParity, Tolerance

__all__ = ["Answers", "output_parity", "rows_within"]

_TIE: Final = Tolerance()
"""Two columns nearer than twice this are a tie, however loose the conversion is allowed to be."""
_TOKEN_CLASSES: Final = 128
"""Of (rows, tokens, columns): with more columns than this they are a hidden state and no scores."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What both models gave for the same inputs.

    Attributes:
        words: which inputs.
        expected: the original's, by output.
        actual: the converted model's.
        rows: of the inputs; 1 where there is no batch axis.
        failure: why there is no `actual`.
    """

    words: str
    expected: Mapping[str, NDArray[Any]]
    actual: Mapping[str, NDArray[Any]]
    rows: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class _Difference:
    """One output for one set of inputs.

    Attributes:
        agreeing: rows with the same answer, of `rows`; both 0 where an answer is not to be read from it.
        excess: how many times the allowed difference the worst value is; 0 within the tolerance.
        what: the fault in words; empty where only rows disagree, or nothing is wrong.
    """

    absolute: float = 0.0
    relative: float = 0.0
    agreeing: int = 0
    rows: int = 0
    excess: float = 0.0
    what: str = ""


def output_parity(name: str, answers: Sequence[Answers], tolerance: Tolerance) -> OutputParity:
    """Compares one output over everything that both models answered.

    A row whose best two scores are all but equal has no answer to disagree about: such a tie counts as agreement, for the
    scores and for the label that comes with them.
    """
    differences = [_difference(name, each, tolerance) for each in answers]
    rows = sum(each.rows for each in differences)
    agreement = sum(each.agreeing for each in differences) / rows if rows else None
    worst = max(range(len(answers)), key=lambda index: differences[index].excess)
    reason = ""
    if differences[worst].excess:
        reason = f"for {answers[worst].words} {differences[worst].what}" + _because(name, answers[worst], tolerance)
    elif agreement is not None and 1 - agreement > tolerance.disagreement:
        first = answers[next(index for index, each in enumerate(differences) if each.agreeing < each.rows)]
        reason = f"{1 - agreement:.2%} of the rows have another answer, first for {first.words}"
        reason += _because(name, first, tolerance)
    return OutputParity(
        name=name,
        worst_absolute=max(each.absolute for each in differences),
        worst_relative=max(each.relative for each in differences),
        agreement=agreement,
        passed=not reason,
        reason=reason,
    )


def _because(name: str, answers: Answers, tolerance: Tolerance) -> str:
    cause = "" if answers.failure else cause_of(name, answers.expected, answers.actual, tolerance)
    return f": {cause}" if cause else ""


def rows_within(answers: Answers, tolerance: Tolerance) -> NDArray[np.bool_]:
    """For every row of a batch, whether all outputs are the original's within the tolerance."""
    within = np.ones(answers.rows, dtype=np.bool_)
    for name, expected in answers.expected.items():
        actual = answers.actual.get(name)
        if actual is None or expected.shape != actual.shape or len(expected) != answers.rows:
            return np.zeros(answers.rows, dtype=np.bool_)
        if expected.dtype.kind == "f":
            near = np.isclose(actual, expected, rtol=tolerance.relative, atol=tolerance.absolute, equal_nan=True)
        else:
            near = _plain(expected) == _plain(actual)
        within &= near.reshape(answers.rows, -1).all(axis=1)
    return within


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Text as numpy's `str`, however it came: bytes, objects or str."""
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8")
    if array.dtype.kind != "O":
        return array
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in array.reshape(-1)]
    return np.array(texts, dtype=np.str_).reshape(array.shape)


def _difference(name: str, answers: Answers, tolerance: Tolerance) -> _Difference:
    if answers.failure:
        return _broken(answers.failure)
    expected, actual = _plain(answers.expected[name]), _plain(answers.actual[name])
    if expected.shape != actual.shape:
        return _broken(f"its shape is {list(actual.shape)} where the original has {list(expected.shape)}")
    if _kind(expected) != _kind(actual):
        return _broken(f"its dtype is {actual.dtype} where the original has {expected.dtype}")
    if not expected.size:
        # Nothing was found in an image, say, and by neither.
        return _Difference()
    if expected.dtype.kind != "f":
        return _equality(expected, actual, _tied(answers.expected))
    return _distance(expected.astype(np.float64), actual.astype(np.float64), tolerance)


def _kind(array: NDArray[Any]) -> str:
    # A conversion may narrow (float64 to float32, int64 to int32), not change what a value is.
    return {"u": "i"}.get(array.dtype.kind, array.dtype.kind)


def _broken(what: str) -> _Difference:
    return _Difference(absolute=np.inf, relative=np.inf, excess=np.inf, what=what)


def _equality(expected: NDArray[Any], actual: NDArray[Any], tied: NDArray[np.bool_] | None) -> _Difference:
    rows = len(expected) if expected.ndim else 1
    same = (expected == actual).reshape(rows, -1).all(axis=1)
    if tied is not None and len(tied) == rows:
        same |= tied
    if expected.dtype.kind in "iu":
        distance = float(np.abs(expected.astype(np.float64) - actual.astype(np.float64)).max())
    else:
        distance = 0.0 if same.all() else np.inf
    return _Difference(absolute=distance, relative=0.0, agreeing=int(same.sum()), rows=rows)


def _tied(expected: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_] | None:
    """Rows whose best two scores are all but equal, by the first output with scores."""
    for array in expected.values():
        if array.dtype.kind == "f" and array.ndim == 2 and array.shape[1] > 1:
            best = np.sort(array.astype(np.float64), axis=1)[:, -2:]
            tied: NDArray[np.bool_] = best[:, 1] - best[:, 0] <= _tie(best[:, 1])
            return tied
    return None


def _tie(values: NDArray[Any]) -> NDArray[Any]:
    width: NDArray[Any] = 2 * (_TIE.absolute + _TIE.relative * np.abs(values))
    return width


def _distance(expected: NDArray[Any], actual: NDArray[Any], tolerance: Tolerance) -> _Difference:
    finite = np.isfinite(expected)
    lost = finite & ~np.isfinite(actual)
    if lost.any():
        return _broken(
            f"{lost.sum()} of {lost.size} values are infinite or not a number where the original has numbers"
        )
    if not np.array_equal(expected[~finite], actual[~finite], equal_nan=True):
        return _broken("it has other values where the original has infinite ones or none")
    if not finite.any():
        return _Difference()
    apart = np.where(finite, np.abs(np.subtract(actual, expected, where=finite, out=np.zeros_like(expected))), 0.0)
    size = np.where(finite, np.abs(expected), 0.0)
    relative = np.divide(apart, size, where=size > tolerance.absolute, out=np.zeros_like(apart))
    allowed = tolerance.absolute + tolerance.relative * size
    excess = np.divide(apart, allowed, where=allowed > 0, out=np.where(apart > 0, np.inf, 0.0))
    worst = np.unravel_index(int(excess.argmax()), excess.shape)
    beyond = float(excess[worst])
    agreeing, rows = _agreement(expected, actual)
    return _Difference(
        absolute=float(apart.max()),
        relative=float(relative.max()),
        agreeing=agreeing,
        rows=rows,
        excess=beyond if beyond > 1 else 0.0,
        what=f"it gives {actual[worst]:.6g} where the original gives {expected[worst]:.6g}",
    )


def _agreement(expected: NDArray[Any], actual: NDArray[Any]) -> tuple[int, int]:
    """Rows with the same best column, and all rows; none where a row is no choice between columns."""
    if not _chooses(expected):
        return 0, 0
    one, other = (array.reshape(-1, array.shape[-1]) for array in (expected, actual))
    best = one.max(axis=1)
    chosen = np.take_along_axis(one, other.argmax(axis=1)[:, None], axis=1)[:, 0]
    same = best - chosen <= _tie(best)
    return int(same.sum()), len(same)


def _chooses(values: NDArray[Any]) -> bool:
    if values.ndim not in (2, 3) or values.shape[-1] < 2 or not values.size or not np.isfinite(values).all():
        return False
    if values.ndim == 3:
        return values.shape[-1] <= _TOKEN_CLASSES
    # Rows of length 1 are directions, whose largest coordinate says nothing; unless they are probabilities.
    unit = np.allclose((values**2).sum(axis=1), 1.0, atol=1e-3)
    return not unit or np.allclose(values.sum(axis=1), 1.0, atol=1e-3)
