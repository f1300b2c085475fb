"""How each framework keeps a model in files: one row a framework."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import DefinitionError, StoreError
from orchestrator.formats import files_of
from orchestrator.formats.packages import package
from orchestrator.formats.python_model import read_object
from orchestrator.models.pickles import write_pickle
from orchestrator.models.transformers_folder import read_transformers, write_transformers
from orchestrator.spec import ModelFormat

__all__ = ["FRAMEWORKS", "PICKLES", "Framework", "framework_of", "named_framework"]

PICKLES: Final = (".pkl", ".pickle", ".joblib")
_STORED_ENDINGS: Final = {
    **dict.fromkeys(PICKLES, ".pkl"),
    **dict.fromkeys((".plan", ".engine", ".trt"), ".plan"),
    **dict.fromkeys((".pt", ".pth", ".ts", ".torchscript"), ".pt"),
}
_LARGEST_PROTOBUF: Final = 1_800_000_000
"""Bytes; protobuf ends at 2 GiB."""


@dataclass(frozen=True, slots=True)
class Framework:
    """One row.

    Attributes:
        name: as `ModelRecord.framework` has it.
        write: puts an object into a folder, and returns its file's name; "" where the folder is the model.
        read: the object, from that file or folder.
        endings: of the files that its users keep models in; none where it is a folder.
        format: what Triton can run it as; None where only a conversion makes it something for Triton.
        methods: what a call may run; the first one that an object has is the usual one.
        packages: that a model of it needs; their versions are kept with it.
    """

    name: str
    write: Callable[[Any, Path], str]
    read: Callable[[Path], Any]
    endings: tuple[str, ...] = ()
    format: ModelFormat | None = None
    methods: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """What its own file may be called in a stored model."""
        return tuple(dict.fromkeys(map(_stored_name, self.endings)))

    def is_pickle(self, file: str) -> bool:
        """Whether reading that file runs code that is in it."""
        return file.endswith(".pkl") or self.name == "torch"

    def copy(self, source: Path, folder: Path) -> str:
        """Puts a user's file or folder into a model's folder.

        Returns:
            Its file's name there; "" where the folder is the model.

        Raises:
            StoreError: it is not what models of this framework are kept in.
        """
        if not self.endings:
            if not source.is_dir():
                raise StoreError(f"{source} is no folder, as a model of {self.name} is")
            shutil.copytree(source, folder, dirs_exist_ok=True)
            return ""
        if self.format is ModelFormat.ONNX:
            return _copy_onnx(source, folder)
        if not source.is_file() or source.suffix not in self.endings:
            raise StoreError(f"{source} is no file of {self.name}", hint=f"one that ends in {', '.join(self.endings)}")
        name = _stored_name(source.suffix)
        shutil.copyfile(source, folder / name)
        return name

    def method_of(self, model: object) -> str:
        """What a call of an object runs; empty where nothing is called in Python."""
        return next((name for name in self.methods if callable(getattr(model, name, None))), "")


def _stored_name(ending: str) -> str:
    return f"model{_STORED_ENDINGS.get(ending, ending)}"


def _copy_onnx(source: Path, folder: Path) -> str:
    try:
        found = files_of(source, ModelFormat.ONNX)
    except DefinitionError as error:
        raise StoreError(f"{source}: {error.message}", hint=error.hint) from error
    for name, file in found.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)
    return found.file


def _write_joblib(model: Any, folder: Path) -> str:
    # The name that BentoML's own pages have for it.
    package("joblib", "to write a pickled model", extra="convert").dump(model, folder / "model.pkl")
    return "model.pkl"


def _write_xgboost(model: Any, folder: Path) -> str:
    model.save_model(folder / "model.ubj")
    return "model.ubj"


def _write_lightgbm(model: Any, folder: Path) -> str:
    if type(model).__name__ != "Booster":  # an estimator's labels and parameters are not in its booster's text
        return _write_joblib(model, folder)
    model.save_model(str(folder / "model.txt"))
    return "model.txt"


def _write_torch(model: Any, folder: Path) -> str:
    package("torch", "to write its model", extra="torch").save(model, folder / "model.pt")
    return "model.pt"


def _write_torchscript(model: Any, folder: Path) -> str:
    package("torch", "to write its model", extra="torch").jit.save(model, str(folder / "model.pt"))
    return "model.pt"


def _read_torchscript(path: Path) -> Any:
    return package("torch", "to read its model", extra="torch").jit.load(str(path), map_location="cpu")


def _write_keras(model: Any, folder: Path) -> str:
    model.save(folder / "model.keras")
    return "model.keras"


def _write_tensorflow(model: Any, folder: Path) -> str:
    package("tensorflow", "to write its model").saved_model.save(model, str(folder))
    return ""


def _read_tensorflow(path: Path) -> Any:
    return package("tensorflow", "to read its model").saved_model.load(str(path))


def _write_onnx(model: Any, folder: Path) -> str:
    large = model.ByteSize() > _LARGEST_PROTOBUF
    beside: dict[str, Any] = {"save_as_external_data": True, "location": "model.onnx.data"} if large else {}
    package("onnx", "to write its model", extra="onnx").save(model, folder / "model.onnx", **beside)
    return "model.onnx"


def _read_onnx(path: Path) -> Any:
    onnxruntime = package("onnxruntime", "to run an ONNX model", extra="onnx")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _write_tensorrt(model: Any, folder: Path) -> str:
    raise StoreError("a TensorRT plan is saved from its file", hint="save_model(name, 'model.plan')")


def _read_tensorrt(path: Path) -> Any:
    raise StoreError("a TensorRT plan is no Python object", hint="declare it on a service: models.TensorRT(tag)")


def _write_sentence_transformers(model: Any, folder: Path) -> str:
    model.save(str(folder))
    return ""


def _read_sentence_transformers(path: Path) -> Any:
    return package("sentence_transformers", "to read its model").SentenceTransformer(str(path))


def _write_pickle(model: Any, folder: Path) -> str:
    write_pickle(folder / "model.pkl", model)
    return "model.pkl"


FRAMEWORKS: Final = {
    row.name: row
    for row in (
        Framework(
            "sklearn",
            _write_joblib,
            partial(read_object, "sklearn"),
            PICKLES,
            ModelFormat.PYTHON,
            methods=("predict", "transform"),
            packages=("sklearn", "joblib", "numpy"),
        ),
        Framework(
            "xgboost",
            _write_xgboost,
            partial(read_object, "xgboost"),
            (".ubj", ".json", *PICKLES),
            ModelFormat.PYTHON,
            methods=("predict",),
            packages=("xgboost", "numpy"),
        ),
        Framework(
            "lightgbm",
            _write_lightgbm,
            partial(read_object, "lightgbm"),
            (".txt", *PICKLES),
            ModelFormat.PYTHON,
            methods=("predict",),
            packages=("lightgbm", "numpy"),
        ),
        Framework(
            "torch",
            _write_torch,
            partial(read_object, "torch"),
            (".pt", ".pth"),
            ModelFormat.PYTHON,
            methods=("__call__",),
            packages=("torch",),
        ),
        Framework(
            "torchscript",
            _write_torchscript,
            _read_torchscript,
            (".pt", ".pth", ".ts", ".torchscript"),
            ModelFormat.TORCHSCRIPT,
            packages=("torch",),
        ),
        Framework(
            "keras",
            _write_keras,
            partial(read_object, "keras"),
            (".keras", ".h5"),
            ModelFormat.PYTHON,
            methods=("__call__",),  # `predict` writes a bar to standard output each time
            packages=("keras", "tensorflow"),
        ),
        Framework("tensorflow", _write_tensorflow, _read_tensorflow, packages=("tensorflow",)),
        Framework("onnx", _write_onnx, _read_onnx, (".onnx",), ModelFormat.ONNX, packages=("onnx",)),
        Framework(
            "tensorrt",
            _write_tensorrt,
            _read_tensorrt,
            (".plan", ".engine", ".trt"),
            ModelFormat.TENSORRT,
            packages=("tensorrt",),
        ),
        Framework("huggingface", write_transformers, read_transformers, packages=("transformers", "torch")),
        Framework(
            "sentence_transformers",
            _write_sentence_transformers,
            _read_sentence_transformers,
            packages=("sentence_transformers", "transformers", "torch"),
        ),
        Framework(
            "pickle",
            _write_pickle,
            partial(read_object, "pickle"),
            PICKLES,
            ModelFormat.PYTHON,
            methods=("predict", "__call__"),
        ),
    )
}
_ROOTS: Final = {"transformers": "huggingface", **{name: name for name in FRAMEWORKS if name != "pickle"}}
"""Package that a model's class, or a base of it, comes from -> name of the row."""


def named_framework(name: str) -> Framework:
    """The row of that name.

    Raises:
        StoreError: there is none.
    """
    row = FRAMEWORKS.get(name)
    if row is None:
        raise StoreError(f"there is no framework {name!r}", hint=f"there is {', '.join(FRAMEWORKS)}")
    return row


def framework_of(model: object) -> Framework | None:
    """The row that an object belongs to, or None; imports no framework."""
    for kind in type(model).__mro__:
        name = _ROOTS.get(kind.__module__.partition(".")[0])
        if name == "torch" and isinstance(model, sys.modules["torch"].jit.ScriptModule):
            return FRAMEWORKS["torchscript"]
        if name is not None:
            return FRAMEWORKS[name]
    return None
