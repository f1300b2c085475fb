"""The gate: both models answer the same inputs, and the converted one passes only where its answers are the original's."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.conversion.comparison import Answers, output_parity, rows_within
from orchestrator.conversion.samples import Arrays, Trial, missing_values, trials
from orchestrator.errors import ConversionError, OrchestratorError
from orchestrator.formats import Sample
from orchestrator.spec.conversion import Converted, OutputParity, ParityReport, Run, Tolerance
from orchestrator.spec.tensors import DType

__all__ = ["compare"]

_PROOF_ROWS: Final = 8
_ALONE_ROWS: Final = 8
_TIMED_S: Final = 0.4
_RUNS: Final = (3, 25)


def compare(
    converted: Converted, run: Run, sample: Arrays, *, source: str, target: str, tolerance: Tolerance
) -> tuple[ParityReport, Sample]:
    """Compares the converted model with its original.

    Args:
        run: the converted model.
        sample: all inputs, of the dtypes in the converted model's signature.

    Returns:
        The report, and rows of the sample with the original's outputs, of those that the converted model answers within
        the tolerance; none where it answers none so.

    Raises:
        ConversionError: the original does not take the sample.
    """
    with _quiet():
        answers: list[Answers] = []
        left_out: dict[str, int] = {}
        for trial in trials(converted.signature, sample):
            answered, unanswered = _answers(converted, run, trial)
            if unanswered:
                left_out[trial.words] = unanswered
            if answered is not None:
                answers.append(answered)
        outputs = [output_parity(output.name, answers, tolerance) for output in converted.signature.outputs]
        if converted.signature.batched and all(output.passed for output in outputs):
            outputs = _row_by_row(outputs, converted, run, sample, tolerance)
        passed = all(output.passed for output in outputs)
        ratio = _time_ratio(converted.original, run, sample) if passed else 0.0
        notes = [*converted.notes, *_of_missing_values(converted, run, sample, tolerance)]
    if left_out:
        words = ", ".join(f"{each} x {count}" for each, count in left_out.items())
        notes.append(f"left out, since the original itself fails or has no finite answer: {words}")
    report = ParityReport(
        source=source,
        target=target,
        samples=tuple(f"{each.words} x {each.rows}" for each in answers),
        rows=sum(each.rows for each in answers),
        tolerance=tolerance,
        outputs=tuple(outputs),
        time_ratio=ratio,
        notes=tuple(notes),
    )
    return report, _proof(converted, sample, answers[0], tolerance)


def _of_missing_values(converted: Converted, run: Run, sample: Arrays, tolerance: Tolerance) -> Iterator[str]:
    """Not a reason to refuse: most callers send none, and few converters know what a model makes of them."""
    trial = missing_values(converted.signature, sample)
    answered = None if trial is None else _answers(converted, run, trial)[0]
    if answered is not None and not all(
        output_parity(output.name, [answered], tolerance).passed for output in converted.signature.outputs
    ):
        yield "for missing values (NaN) it gives other answers than the original: do not send them"


def _answers(converted: Converted, run: Run, trial: Trial) -> tuple[Answers | None, int]:
    """Both models' answers, and how many rows are left out for the original has none."""
    names = [output.name for output in converted.signature.outputs]
    batched = converted.signature.batched
    rows = len(next(iter(trial.inputs.values()))) if batched else 1
    try:
        expected = converted.original(trial.inputs)
    except Exception as error:
        if trial.edge:
            return None, rows
        raise ConversionError(
            f"the original itself fails for {trial.words}: {_first_line(error)}", hint="give a sample that it takes"
        ) from error
    expected = {name: np.asarray(expected[name]) for name in names}
    keep = _finite_rows(expected, rows if batched else 0) if trial.edge else np.ones(1, dtype=np.bool_)
    if not keep.any():
        return None, rows
    try:
        # An answer must not lie in memory that the next run overwrites.
        actual = {name: np.array(array) for name, array in run(trial.inputs).items()}
    except OrchestratorError as error:
        return Answers(trial.words, expected, {}, rows, failure=f"the converted model fails: {error}"), 0
    if keep.all():
        return Answers(trial.words, expected, actual, rows), 0
    expected, actual = ({name: _rows(array, keep) for name, array in each.items()} for each in (expected, actual))
    return Answers(trial.words, expected, actual, int(keep.sum())), int((~keep).sum())


def _finite_rows(outputs: Mapping[str, NDArray[Any]], rows: int) -> NDArray[np.bool_]:
    """Which rows are finite in all outputs; one element for all of them where `rows` is 0, or an output has others."""
    floats = [array for array in outputs.values() if array.dtype.kind == "f"]
    if not rows or any(not array.ndim or len(array) != rows for array in floats):
        return np.array([all(np.isfinite(array).all() for array in floats)])
    keep = np.ones(rows, dtype=np.bool_)
    for array in floats:
        keep &= np.isfinite(array).reshape(rows, -1).all(axis=1)
    return keep


def _rows(array: NDArray[Any], keep: NDArray[np.bool_]) -> NDArray[Any]:
    return array[keep] if array.ndim and len(array) == len(keep) else array


def _row_by_row(
    outputs: Sequence[OutputParity], converted: Converted, run: Run, sample: Arrays, tolerance: Tolerance
) -> list[OutputParity]:
    """A row must have the same answer alone as in a batch, or Triton must not batch the calls of several callers."""
    rows = min(_ALONE_ROWS, len(next(iter(sample.values()))))
    together = {name: array[:rows] for name, array in sample.items()}
    pairs = {model: _together_and_alone(model, together, rows) for model in (run, converted.original)}
    checked = []
    for output in outputs:
        parity = output_parity(output.name, [pairs[run]], tolerance)
        if parity.passed:
            checked.append(output)
            continue
        own = output_parity(output.name, [pairs[converted.original]], tolerance)
        why = (
            "axis 0 is not a batch axis in the converted model"
            if own.passed
            else "the original itself mixes the rows of a batch, so its calls must not be batched"
        )
        update = {"passed": False, "reason": f"{parity.reason}; {why}", "worst_absolute": parity.worst_absolute}
        checked.append(output.model_copy(update=update))
    return checked


def _together_and_alone(model: Run, together: Arrays, rows: int) -> Answers:
    expected = {name: np.array(array) for name, array in model(together).items()}
    single = [model({name: array[row : row + 1] for name, array in together.items()}) for row in range(rows)]
    alone = {name: np.concatenate([np.atleast_1d(each[name]) for each in single]) for name in expected}
    return Answers("rows one by one, against the same rows in a batch,", expected, alone, rows)


def _time_ratio(original: Run, converted: Run, sample: Arrays) -> float:
    """Interleaved, so that a machine that slows down slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + _TIMED_S
    while len(times[0]) < _RUNS[0] or (len(times[0]) < _RUNS[1] and time.perf_counter() < end):
        for model, taken in zip((original, converted), times, strict=True):
            start = time.perf_counter()
            model(sample)
            taken.append(time.perf_counter() - start)
    return median(times[0]) / median(times[1])


def _proof(converted: Converted, sample: Arrays, answers: Answers, tolerance: Tolerance) -> Sample:
    dtypes = {output.name: output.dtype for output in converted.signature.outputs}
    outputs = {
        # A server compares dtypes as well, and the original's may be wider.
        name: array if dtypes[name] is DType.BYTES else array.astype(dtypes[name].numpy)
        for name, array in answers.expected.items()
    }
    if not converted.signature.batched:
        return Sample(sample, outputs)
    rows = np.flatnonzero(rows_within(answers, tolerance))[:_PROOF_ROWS]
    return Sample(
        {name: array[rows] for name, array in sample.items()}, {name: array[rows] for name, array in outputs.items()}
    )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Frameworks warn of what we feed them on purpose: overflow, arrays without column names."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
