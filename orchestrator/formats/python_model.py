"""Models of Python frameworks, run by their own library; and what a `model.py` of Triton's says of itself."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.packages import package
from orchestrator.formats.results import named
from orchestrator.formats.tensors import text_of
from orchestrator.formats.triton_config import read_config
from orchestrator.spec import NativeModelSpec, TensorSpec

__all__ = ["FrameworkModel", "read_object", "read_tensors"]


def read_tensors(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a `model.py`, from the `config.pbtxt` beside it or above its version folder.

    Raises:
        DefinitionError: there is none, or it is broken.
    """
    for folder in (path.parent, path.parent.parent) if path.suffix == ".py" else ():
        if (folder / "config.pbtxt").is_file():
            return read_config(folder / "config.pbtxt")
    raise DefinitionError(
        "a Python model's file does not say what its inputs and outputs are",
        file=str(path),
        hint="give inputs= and outputs=, such as inputs=['x: FP32[-1, 4]'], or put its config.pbtxt beside model.py",
    )


class FrameworkModel:
    """A framework's own model; a call runs `spec.method` of it, with the inputs by position.

    Raises:
        DefinitionError: the framework is not known or not installed, or cannot read the file.
    """

    def __init__(self, path: Path, spec: NativeModelSpec, *, threads: int | None, device: int | None) -> None:
        if not spec.framework:
            raise DefinitionError(
                "a model.py of Triton's Python backend runs in Triton only, not in this process", file=str(path)
            )
        self._spec = spec
        self._torch = package("torch", "to run its model", extra="torch") if spec.framework == "torch" else None
        self._device = (
            f"cuda:{device}" if device is not None and self._torch and self._torch.cuda.is_available() else "cpu"
        )
        if self._torch and threads is not None:
            self._torch.set_num_threads(threads)
        model = read_object(spec.framework, path)
        if self._torch:
            model = model.to(self._device).eval()
        # After the framework's libraries are there: it limits those that it finds.
        self._limit: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
        if threads is not None and not self._torch:
            self._limit = _limit_of(threads)
        self._call: Callable[..., Any] | None = self._method(model, path)

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs the method."""
        assert self._call is not None
        arrays = [_for_framework(name, array) for name, array in inputs.items()]
        if self._torch is None:
            with self._limit():
                return named(self._call(*arrays), self._spec.signature, outputs)
        with self._torch.inference_mode():
            tensors = [self._torch.from_numpy(array.copy()).to(self._device) for array in arrays]
            return named(self._call(*tensors), self._spec.signature, outputs)

    def close(self) -> None:
        self._call = None

    def _method(self, model: Any, path: Path) -> Callable[..., Any]:
        name = self._spec.method or ("__call__" if self._torch else "predict")
        method = getattr(model, name, None)
        if not callable(method):
            raise DefinitionError(f"a {type(model).__name__} has no method {name!r}", file=str(path), hint="method=...")
        if type(model).__name__ == "Booster" and type(model).__module__.startswith("xgboost"):
            matrix = package("xgboost", "to run its model").DMatrix
            return lambda array: method(matrix(array))
        return method  # type: ignore[no-any-return]


def read_object(framework: str, path: Path) -> Any:
    """A framework's own object from its own file, such as an estimator. A pickle runs code of whoever wrote it.

    Raises:
        DefinitionError: the framework is not known or not installed, or cannot read the file.
    """
    if framework not in _READERS:
        known = ", ".join(sorted(_READERS))
        raise DefinitionError(f"there is no way to run a model of {framework!r}: there is {known}")
    try:
        return _READERS[framework](path)
    except DefinitionError:
        raise
    except Exception as error:  # a pickle may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DefinitionError(f"{framework} cannot read this model: {reason}", file=str(path)) from error


def _limit_of(threads: int) -> Callable[[], AbstractContextManager[Any]]:
    """Keeps OpenMP and BLAS to so many threads, in the calling thread."""
    controller = package("threadpoolctl", "to limit the threads of a model", extra="convert").ThreadpoolController()
    return lambda: controller.limit(limits=threads)


def _for_framework(name: str, array: NDArray[Any]) -> NDArray[Any]:
    # Vectorisers want str, not bytes.
    return text_of(name, array) if array.dtype == object else array


def _pickled(path: Path) -> Any:
    return package("joblib", "to read a pickled model", extra="convert").load(path)


def _sklearn(path: Path) -> Any:
    package("sklearn", "to read its model", extra="convert")
    return _pickled(path)


def _xgboost(path: Path) -> Any:
    xgboost = package("xgboost", "to read its model")
    if path.suffix not in (".json", ".ubj"):
        return _pickled(path)
    booster = xgboost.Booster(model_file=str(path))
    # What XGBClassifier and its like write besides: whose `predict` gives labels, not margins or probabilities.
    kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
    wrapper = {"classifier": "XGBClassifier", "regressor": "XGBRegressor", "ranker": "XGBRanker"}.get(str(kind))
    if wrapper is None:
        return booster
    model = getattr(xgboost, wrapper)()
    model.load_model(str(path))
    return model


def _lightgbm(path: Path) -> Any:
    lightgbm = package("lightgbm", "to read its model")
    return lightgbm.Booster(model_file=str(path)) if path.suffix == ".txt" else _pickled(path)


def _torch_module(path: Path) -> Any:
    # A whole module is a pickle: its classes must be importable here.
    return package("torch", "to read its model", extra="torch").load(path, map_location="cpu", weights_only=False)


def _keras(path: Path) -> Any:
    return package("keras", "to read its model").models.load_model(path)


_READERS: Final[dict[str, Callable[[Path], Any]]] = {
    "keras": _keras,
    "lightgbm": _lightgbm,
    "pickle": _pickled,
    "sklearn": _sklearn,
    "torch": _torch_module,
    "xgboost": _xgboost,
}
