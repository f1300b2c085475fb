"""scikit-learn to ONNX, by skl2onnx: estimators, pipelines and column transformers."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.onnx_file import FILE, flatten_output, opset_from, rename_outputs, shaped_by, write_onnx
from converters.packages import framework_of, need
from converters.pickled import load_pickled
from converters.sklearn_boosters import register_boosters
from converters.sklearn_outputs import Answer, answers_of
from converters.sklearn_repairs import parts_of, prepared
from converters.switches import switch
from converters.tables import EstimatorInputs, inputs_of
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted
from orchestrator.spec.model import ModelFormat

__all__ = ["SklearnToOnnx"]

_ML_OPSET: Final = 3
"""Trees in float64; what onnxruntime has had since 1.12."""
_LOCALE: Final = "C.UTF-8"
"""The operator's own default is en_US.UTF-8, which neither Triton's container nor a small machine has: it would not load."""

_AS_IT_IS: Final = "serve it as it is, from a service class or with models.Python"


class SklearnToOnnx:
    """Inputs are float32 `X` (rows, features), or a tensor a column where the model selects columns by name.

    A classifier gives `label` and `probabilities`, or `scores` where it has no `predict_proba`; a regressor and a
    transformer `variable`; a detector of outliers `label` and `scores`; a clusterer `label` and `distances`.
    """

    source = "sklearn"
    target = "onnx"
    description = "a fitted scikit-learn estimator or pipeline, as .joblib or .pkl"
    options: Mapping[str, str] = {
        "opset": "ONNX opset, 17 unless given",
        "float64": "computes in float64, where float32 is too coarse for a model",
    }

    def matches(self, model: object) -> bool:
        return framework_of(model) == "sklearn" and (hasattr(model, "predict") or hasattr(model, "transform"))

    def load(self, path: Path) -> object:
        return load_pickled(path, "sklearn")

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        opset, wide = opset_from(options), switch(options, "float64")
        need("skl2onnx")
        _check_fitted(model)
        parts = parts_of(model)
        inputs = inputs_of(
            sample,
            features=getattr(model, "n_features_in_", None),
            order=[str(name) for name in getattr(model, "feature_names_in_", ())],
            by_column=any(type(part).__name__ == "ColumnTransformer" for part in parts)
            and hasattr(model, "feature_names_in_"),
            floats=np.float64 if wide else np.float32,
        )
        answers = answers_of(model)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            register_boosters(parts)
            converted = _converted(model, inputs, opset)
        _fix(converted)
        names = [output.name for output in converted.graph.output]
        # A classifier that only votes has scores in skl2onnx's graph, and none in scikit-learn.
        del converted.graph.output[len(answers) :]
        notes = _without_lists(converted, answers)
        rename_outputs(converted, dict(zip(names, answers, strict=False)))
        shapes = shaped_by(converted, inputs.arrays)
        if shapes.get("label") in ((2, 1), (1, 2)):
            flatten_output(converted, "label")
            shapes = shaped_by(converted, inputs.arrays)
        signature = write_onnx(converted, folder, batched=True)
        return Converted(
            format=ModelFormat.ONNX,
            file=FILE,
            signature=signature,
            original=_original(answers, inputs, shapes),
            sample=inputs.sample,
            notes=(f"opset {opset}", "computed in float64" if wide else "computed in float32", *notes),
        )


def _check_fitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError:
        raise ConversionError(f"{type(model).__name__} is not fitted", hint="call its fit first") from None
    except TypeError as error:
        raise ConversionError(f"{type(model).__name__} is no estimator: {error}") from error


def _converted(model: Any, inputs: EstimatorInputs, opset: int) -> Any:
    from sklearn.base import is_classifier

    convert_sklearn = need("skl2onnx").convert_sklearn
    missing = need("skl2onnx.common.exceptions").MissingShapeCalculator
    model = prepared(model)
    settings: dict[str, Any] = {
        "initial_types": [(name, _type(array)) for name, array in inputs.arrays.items()],
        "target_opset": {"": opset, "ai.onnx.ml": _ML_OPSET},
        "name": type(model).__name__,
    }
    attempts: list[dict[str, Any]] = [{}]
    if is_classifier(model):
        # A ZipMap makes probabilities a list of dictionaries, which no tensor is. Some classifiers have no such option.
        scores = {} if hasattr(model, "predict_proba") else {"raw_scores": True}
        attempts = [{"zipmap": False, **scores}, {"zipmap": False}, scores, {}]
    for attempt in attempts:
        try:
            return convert_sklearn(model, **settings, options={id(model): attempt} if attempt else None)
        except missing as error:
            found = re.search(r"for type '<class '([\w.]+)'>'", str(error))
            kind = found[1].rpartition(".")[2] if found else type(model).__name__
            raise ConversionError(f"skl2onnx has no converter for {kind}", hint=_AS_IT_IS) from error
        except NameError as error:
            if "Option" not in str(error) or attempt == attempts[-1]:
                raise _refused(model, error) from error
        except Exception as error:  # skl2onnx raises whatever its converters do
            raise _refused(model, error) from error
    raise AssertionError("one of the attempts returns or raises")


def _without_lists(converted: Any, answers: dict[str, Answer]) -> list[str]:
    """Drops outputs that are no tensors, from the graph and from the answers; returns a note for each."""
    left_out = []
    for index, name in reversed(list(enumerate(answers))):
        if not converted.graph.output[index].type.HasField("tensor_type"):
            del converted.graph.output[index], answers[name]
            left_out.append(f"{name}: left out, a table for each label and no single tensor")
    if not answers:
        raise ConversionError("the model gives lists of tables only, which no tensor is", hint=_AS_IT_IS)
    return left_out


def _refused(model: Any, error: Exception) -> ConversionError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ConversionError(
        f"skl2onnx does not convert this {type(model).__name__}: {reason.rstrip('.')}",
        hint=_AS_IT_IS,
    )


def _type(array: NDArray[Any]) -> Any:
    data_types = need("skl2onnx.common.data_types")
    kinds: dict[str, Any] = {
        "float32": data_types.FloatTensorType,
        "float64": data_types.DoubleTensorType,
        "int64": data_types.Int64TensorType,
        "object": data_types.StringTensorType,
    }
    return kinds[array.dtype.name]([None, array.shape[1]])


def _fix(model: Any) -> None:
    """Repairs what skl2onnx writes and a strict or bare machine refuses."""
    domains = {opset.domain: opset.version for opset in model.opset_import}
    del model.opset_import[:]
    for domain, version in domains.items():
        model.opset_import.add(domain=domain, version=version)
    helper = need("onnx.helper")
    for node in model.graph.node:
        if node.op_type == "StringNormalizer":
            others = [attribute for attribute in node.attribute if attribute.name != "locale"]
            del node.attribute[:]
            node.attribute.extend([*others, helper.make_attribute("locale", _LOCALE)])


def _original(
    answers: Mapping[str, Answer], inputs: EstimatorInputs, shapes: Mapping[str, tuple[int, ...]]
) -> Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]:
    def run(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        joined = inputs.joined(given)
        return {name: _as_wide(answer(joined), shapes[name]) for name, answer in answers.items()}

    return run


def _as_wide(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A binary classifier has one score in scikit-learn, and in ONNX sometimes one for each class."""
    if values.ndim == 2 and values.shape[1] == 1 and shape[1:] == (2,):
        return np.hstack([-values, values])
    return values
