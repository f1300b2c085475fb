"""Every classifier and regressor of scikit-learn on its own data sets, to ONNX: `python -m benchmarks.conversions`.

Writes docs/conversions.md. Nothing is downloaded. `--only NAME...` prints some of the rows and writes nothing.
"""

import argparse
import inspect
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.conversion import convert, converter_for
from orchestrator.errors import ConversionError

__all__ = ["PAGE", "Row", "cases", "page", "row_of", "rows_in"]

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "conversions.md"
_CLASSES: Final = ("iris", "wine", "breast_cancer", "digits")
_NUMBERS: Final = ("diabetes", "linnerud")
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    # Other data sets than the usual ones: two labels a row, two classes only, one feature only, or minutes to fit.
    **dict.fromkeys(("ClassifierChain", "MultiOutputClassifier"), ("iris, two labels",)),
    **dict.fromkeys(("FixedThresholdClassifier", "TunedThresholdClassifierCV"), ("breast_cancer",)),
    "GaussianProcessClassifier": ("iris", "wine", "breast_cancer"),
    "IsotonicRegression": ("diabetes, one feature",),
    "QuadraticDiscriminantAnalysis": ("iris", "wine"),
    "RegressorChain": ("linnerud",),
}
_ABOUT: Final = """\
Written by `python -m benchmarks.conversions`; do not edit. Every classifier and regressor that scikit-learn lists, with its
default settings, fitted on scikit-learn's own data sets as they are, and converted to ONNX in float32. Each goes through the
parity gate ([how](architecture/09-conversion.md)): the whole data set, batches of 1 to 17 rows, and made-up rows at the edges,
within 0.001 of the value + 0.0001, and with every answer the same."""
_RESULT: Final = """\
{} of {} pass. The others are refused, and nothing is stored. `x faster` is the time of the original, in one thread, over that
of onnxruntime for the whole data set, on the machine that wrote this page. `NaN` marks models that answer missing values
differently."""
_UNKNOWN: Final = "skl2onnx has no converter for it"
_FEWER: Final = "skl2onnx fills up rows with fewer neighbours than others with index -1, which onnxruntime refuses"
_TIED: Final = (
    "two neighbours of a row are at the same distance and only one of them counts: scikit-learn and onnxruntime take "
    "different ones"
)
_BELOW: Final = "skl2onnx puts the three targets one below the other"
_WHY: Final[dict[tuple[str, str], str]] = {
    ("BaggingRegressor", "linnerud"): _BELOW,
    ("GaussianProcessClassifier", ""): "skl2onnx converts it for two classes only",
    ("GaussianProcessClassifier", "breast_cancer"): (
        "skl2onnx writes an operator, com.microsoft.Solve, that onnxruntime does not have"
    ),
    ("KNeighborsClassifier", "digits"): _TIED,
    ("KNeighborsRegressor", "linnerud"): _TIED,
    ("LinearDiscriminantAnalysis", "breast_cancer"): (
        "for two classes skl2onnx takes the Softmax of (-d, d), which is the sigmoid of 2d and not of d: the labels are "
        "right, the probabilities are not"
    ),
    ("MLPRegressor", "linnerud"): _BELOW,
    ("OneVsOneClassifier", "breast_cancer"): (
        "for two classes skl2onnx adds a vote to the score, exactly 1, that scikit-learn leaves out"
    ),
    ("OneVsRestClassifier", "digits"): (
        "ten times beyond the data every class has a probability below 1e-79; scikit-learn divides them by their sum, and "
        "in the graph they are 0 by then"
    ),
    ("RadiusNeighborsClassifier", ""): _FEWER,
    ("RadiusNeighborsRegressor", "linnerud"): _FEWER,
    ("XGBRFClassifier", ""): (
        "onnxmltools takes the trees of one round to be of one class each in turn; here a class has a hundred in a row"
    ),
    ("XGBRegressor", "linnerud"): "onnxmltools knows one target only",
    ("XGBRegressor (gblinear)", "diabetes"): "onnxmltools converts trees only",
    ("TunedThresholdClassifierCV", ""): "skl2onnx ignores the threshold that was tuned, and answers by the usual one",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One estimator on one data set."""

    family: str
    estimator: str
    data_set: str
    make: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Row:
    """What came of it.

    Attributes:
        agreement: of the outputs the least; None where there is none.
        time_ratio: time of the original / time of the converted, for the whole data set.
        refused: why, in words; empty where it passed. What the numbers are then has no meaning.
        message: the error itself.
    """

    family: str
    estimator: str
    data_set: str
    worst_absolute: float = 0.0
    worst_relative: float = 0.0
    agreement: float | None = None
    time_ratio: float = 0.0
    notes: tuple[str, ...] = ()
    refused: str = ""
    message: str = ""


def cases() -> Iterator[Case]:
    """All of them, in the order of the page."""
    from sklearn.utils import all_estimators

    for family, kind, usual in (("Classifiers", "classifier", _CLASSES), ("Regressors", "regressor", _NUMBERS)):
        for name, estimator in all_estimators(type_filter=kind):
            for data_set in _NEEDS.get(name, usual):
                yield Case(family, name, data_set, partial(_made, estimator, kind))
    yield from _boosters()


def row_of(case: Case) -> Row | None:
    """Fits, converts and compares; None where the estimator does not take the data set."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    table, targets = _data(case.data_set)
    # One thread: OpenMP's wait for each other by spinning, which takes the cores from whatever else runs.
    with (
        threadpool_limits(1),
        warnings.catch_warnings(),
        tempfile.TemporaryDirectory(prefix="orchestrator-conversions-") as folder,
    ):
        warnings.simplefilter("ignore")
        try:
            model = case.make().fit(table, targets)
        except (ValueError, np.linalg.LinAlgError) as error:
            # A regressor of one target, for example, and three targets.
            print(f"{case.estimator} does not take {case.data_set}: {next(iter(str(error).splitlines()), '')}")
            return None
        try:
            report = convert(model, converter_for(model, "onnx"), Path(folder) / "model", sample=table).report
        except ConversionError as error:
            return Row(case.family, case.estimator, case.data_set, refused=_why(case, error), message=str(error))
    agreements = [output.agreement for output in report.outputs if output.agreement is not None]
    return Row(
        case.family,
        case.estimator,
        case.data_set,
        worst_absolute=max(output.worst_absolute for output in report.outputs),
        worst_relative=max(output.worst_relative for output in report.outputs),
        agreement=min(agreements, default=None),
        time_ratio=report.time_ratio,
        notes=tuple(note for note in report.notes if "missing values" in note),
    )


def page(rows: Sequence[Row]) -> str:
    """The page, with one table a family."""
    passed = sum(not row.refused for row in rows)
    lines = ["# Conversions of scikit-learn, XGBoost and LightGBM", "", _ABOUT, "", _RESULT.format(passed, len(rows))]
    for family in dict.fromkeys(row.family for row in rows):
        lines += [
            "",
            f"## {family}",
            "",
            "| estimator | data set | worst absolute | worst relative | same answer | x faster | |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(row) for row in rows if row.family == family]
    return "\n".join(lines) + "\n"


def rows_in(text: str) -> dict[tuple[str, str], bool]:
    """Reads a page back: (estimator, data set) -> whether it passed."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 7 and cells[0] != "estimator":
            found[cells[0], cells[1]] = not cells[6].startswith("refused")
    return found


def _line(row: Row) -> str:
    start = f"| {row.estimator} | {'any' if row.refused == _UNKNOWN else row.data_set} |"
    if row.refused:
        return f"{start} | | | | refused: {row.refused} |"
    # Which of three targets is the largest is no answer.
    agreement = "" if row.agreement is None or row.family == "Regressors" else f"{row.agreement:.0%}"
    numbers = f"{row.worst_absolute:.1e} | {row.worst_relative:.1e} | {agreement} | {row.time_ratio:.1f}"
    return f"{start} {numbers} | {'NaN' if row.notes else ''} |"


def _why(case: Case, error: ConversionError) -> str:
    if "has no converter for" in error.message:
        return _UNKNOWN
    return _WHY.get((case.estimator, case.data_set)) or _WHY.get((case.estimator, ""), "")


def _data(name: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
    from sklearn import datasets

    base, _, special = name.partition(", ")
    table, targets = getattr(datasets, f"load_{base}")(return_X_y=True)
    if special == "two labels":
        targets = np.column_stack([targets, targets == 0])
    if special == "one feature":
        table = table[:, [2]]
    return table, targets


def _made(estimator: type[Any], kind: str) -> Any:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    classifies = kind == "classifier"
    linear, tree = (
        (LogisticRegression(), DecisionTreeClassifier(random_state=0))
        if classifies
        else (Ridge(), DecisionTreeRegressor(random_state=0))
    )
    settings: dict[str, Any] = {}
    parameters = inspect.signature(estimator).parameters
    if "random_state" in parameters:
        settings["random_state"] = 0
    if "estimators" in parameters:
        settings["estimators"] = [("linear", linear), ("tree", tree)]
    elif "estimator" in parameters and (
        parameters["estimator"].default is inspect.Parameter.empty or estimator.__name__ == "SelfTrainingClassifier"
    ):
        settings["estimator"] = linear
    return estimator(**settings)


def _boosters() -> Iterator[Case]:
    import lightgbm
    import xgboost

    plain: dict[str, Any] = {"random_state": 0, "n_jobs": 1}
    quiet: dict[str, Any] = {**plain, "verbose": -1}
    for data_set in _CLASSES:
        yield Case("XGBoost", "XGBClassifier", data_set, lambda: xgboost.XGBClassifier(**plain))
    for data_set in _CLASSES:
        yield Case("XGBoost", "XGBRFClassifier", data_set, lambda: xgboost.XGBRFClassifier(**plain))
    for data_set in _NUMBERS:
        yield Case("XGBoost", "XGBRegressor", data_set, lambda: xgboost.XGBRegressor(**plain))
    yield Case(
        "XGBoost",
        "XGBRegressor (count:poisson)",
        "diabetes",
        lambda: xgboost.XGBRegressor(**plain, objective="count:poisson"),
    )
    yield Case(
        "XGBoost", "XGBRegressor (gblinear)", "diabetes", lambda: xgboost.XGBRegressor(**plain, booster="gblinear")
    )
    yield Case("XGBoost", "XGBRFRegressor", "diabetes", lambda: xgboost.XGBRFRegressor(**plain))
    for data_set in _CLASSES:
        yield Case("LightGBM", "LGBMClassifier", data_set, lambda: lightgbm.LGBMClassifier(**quiet))
    yield Case("LightGBM", "LGBMRegressor", "diabetes", lambda: lightgbm.LGBMRegressor(**quiet))
    yield Case(
        "LightGBM",
        "LGBMRegressor (poisson)",
        "diabetes",
        lambda: lightgbm.LGBMRegressor(**quiet, objective="poisson"),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="estimators to print")
    only = parser.parse_args().only
    rows: list[Row] = []
    for case in cases():
        unknown = rows and rows[-1].estimator == case.estimator and rows[-1].refused == _UNKNOWN
        if unknown or (only and case.estimator not in only):
            continue
        row = row_of(case)
        if row is not None:
            rows.append(row)
            print(_line(row), row.message)
    unexplained = [row for row in rows if row.message and not row.refused]
    for row in unexplained:
        print(f"{row.estimator} on {row.data_set} is refused, and nobody has said why: {row.message}", file=sys.stderr)
    if not only and not unexplained:
        PAGE.write_text(page(rows))
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
