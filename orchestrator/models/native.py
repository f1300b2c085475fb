"""Model files as attributes of a service: `Onnx`, `TensorRT`, `TorchScript`, `Python`.

    class Reader:
        detector = orchestrator.models.Onnx("text_det:latest", max_batch_size=8)
        words = orchestrator.models.Onnx("words.onnx")

Each becomes a Triton model of its own; `self.detector(x)` calls it.
"""

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import ValidationError

from orchestrator.errors import DefinitionError, StoreError
from orchestrator.formats import DynamicAxes, ModelFiles, files_of, free_axes, read_signature
from orchestrator.formats.files import MAIN_NAMES, main_file
from orchestrator.formats.tensors import Given, tensors_of
from orchestrator.models.reading import require_readable
from orchestrator.models.stores import default_store
from orchestrator.sdk.native import NativeModel, Resolved
from orchestrator.settings import Settings
from orchestrator.spec import (
    Accelerator,
    ModelFormat,
    ModelOptions,
    ModelRecord,
    ModelSignature,
    NativeModelSpec,
    StoredModelRef,
    Tag,
)

__all__ = ["DeclaredModel", "Onnx", "Python", "TensorRT", "TorchScript", "declared_as"]

_PACKAGE: Final = str(Path(__file__).parents[1])
"""Whoever declares a model is outside of it, and gets to know the line."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ENDINGS: Final = frozenset(
    {".onnx", ".plan", ".engine", ".trt", ".pt", ".pth", ".ts", ".torchscript", ".py", ".joblib", ".pkl", ".ubj"}
)
Source = Any
"""A path, a tag, or a stored model; anything else is refused with the user's line."""


class DeclaredModel(NativeModel):
    """A file, or a stored model, that Triton runs for a service.

    Attributes:
        source: where the file is: a path as the user wrote it, or a tag.
        name: of the Triton model; None for the usual one.
    """

    format: ClassVar[ModelFormat]

    def __init__(
        self,
        source: Source,
        *,
        name: str | None,
        options: Mapping[str, Any],
        inputs: Given | None,
        outputs: Given | None,
        batched: bool | None,
        dynamic_axes: DynamicAxes | None = None,
    ) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        super().__init__(file=frame.f_code.co_filename, line=frame.f_lineno)
        try:
            self.source: Path | Tag = _source(source)
            self._stored_ref: StoredModelRef | None = getattr(source, "stored_ref", lambda: None)()
            self.name = _checked_name(name)
            self.options = _options(options)
            self._inputs = None if inputs is None else tensors_of(inputs)
            self._outputs = None if outputs is None else tensors_of(outputs)
        except DefinitionError as error:
            raise self._placed(error) from None
        if batched not in (None, True, False):
            raise self._placed(DefinitionError(f"batched={batched!r}: takes True, False or None"))
        if dynamic_axes is not None and not isinstance(dynamic_axes, Mapping):
            hint = "as dynamic_axes={'x': [0]}"
            raise self._placed(DefinitionError(f"dynamic_axes={dynamic_axes!r}: takes axes by tensor", hint=hint))
        self._batched = batched
        self._dynamic_axes = dynamic_axes

    def stored_ref(self) -> StoredModelRef | None:
        """What `models.get` was asked for, where its answer is the source: a worker is to get the same."""
        return self._stored_ref

    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        try:
            if isinstance(self.source, Path):
                return self._from_path(self._found(self.source), f"{service}.{attribute}", attribute)
            return self._from_store(tag or self.source, attribute)
        except (DefinitionError, StoreError) as error:
            raise self._placed(error, f"{service}.{attribute}: ") from error

    def _from_path(self, path: Path, name: str, attribute: str) -> Resolved:
        path, file = self._model_file(path, None)
        files = files_of(path, self.format, file=file)
        return self._resolved(attribute, name, files, self._read_signature(path, file))

    def _from_store(self, tag: Tag, attribute: str) -> Resolved:
        store = default_store()
        record = store.get(tag)
        self._check_record(record)
        folder, file = self._model_file(store.folder(record), record.file)
        files = files_of(folder, self.format, file=file)
        asked = (self._inputs, self._outputs, self._batched, self._dynamic_axes) != (None, None, None, None)
        signature = record.signature
        if signature is None or asked:
            signature = self._read_signature(folder, file)
        return self._resolved(attribute, tag.name, files, signature, record, str(self.source))

    def _resolved(
        self,
        attribute: str,
        name: str,
        files: ModelFiles,
        signature: ModelSignature,
        record: ModelRecord | None = None,
        requested: str | None = None,
    ) -> Resolved:
        if self.options.max_batch_size and not signature.batched:
            raise DefinitionError(
                f"max_batch_size={self.options.max_batch_size}, and the model has no batch axis",
                hint="leave it out, or say batched=True where axis 0 of every input and output is one",
            )
        framework = record.framework if record is not None and self.format is ModelFormat.PYTHON else ""
        spec = NativeModelSpec(
            attribute=attribute,
            name=self.name or name,
            format=self.format,
            file=files.file,
            framework=framework,
            method=record.method if record is not None and framework else "",
            signature=signature,
            options=self.options,
            requested=requested,
            tag=None if record is None else str(record.tag),
            version=1 if record is None else record.number,
            files_digest=files.digest,
        )
        if record is not None:
            spec = spec.model_copy(update={"tolerance": record.tolerance})
        return Resolved(spec, files)

    def _model_file(self, path: Path, file: str | None) -> tuple[Path, str | None]:
        """Where the model is that Triton gets; with its axes made free, where that is asked for."""
        if self._dynamic_axes is None:
            return path, file
        main = main_file(path, self.format, file=file)
        said = f"{files_of(path, self.format, file=file).digest} {self._dynamic_axes}"
        folder = Settings.load().home / "cache" / "free-axes" / hashlib.sha256(said.encode()).hexdigest()[:32]
        name = MAIN_NAMES[self.format]
        if not (folder / name).is_file():
            free_axes(main, self._dynamic_axes, folder)
        return folder, name

    def _read_signature(self, path: Path, file: str | None) -> ModelSignature:
        return read_signature(
            path, self.format, inputs=self._inputs, outputs=self._outputs, batched=self._batched, file=file
        )

    def _check_record(self, record: ModelRecord) -> None:
        """Refuses a stored model of another format, and a pickle that somebody else may have written.

        Raises:
            DefinitionError: it is of another format.
            StoreError: it is such a pickle.
        """
        found = _format_of(record)
        if found is self.format:
            if found is ModelFormat.PYTHON:
                require_readable(record)
            return
        what = f"is {_ARTICLES[found]} model" if found is not None else "has no file that Triton can run"
        hint = f"declare it as {_DECLARATIONS[found].__name__}({str(self.source)!r})" if found is not None else None
        raise DefinitionError(f"{record.tag} {what}", hint=hint)

    def _found(self, path: Path) -> Path:
        """The file: beside the module that declares it, or in the working directory."""
        if path.is_absolute():
            return path
        beside = Path(self.file or "").parent / path
        for place in (beside, Path.cwd() / path):
            if place.exists():
                return place.resolve()
        raise DefinitionError(f"there is no {path} beside this file, nor in {Path.cwd()}")

    def _placed(self, error: DefinitionError | StoreError, prefix: str = "") -> DefinitionError:
        """The error at the user's line; what it says of another file becomes part of its text."""
        text = error.message
        if isinstance(error, DefinitionError) and error.file:
            text = f"{error.file}: {text}"
        return DefinitionError(f"{prefix}{text}", file=self.file, line=self.line, hint=error.hint)


class Onnx(DeclaredModel):
    """An ONNX file, run by onnxruntime.

    Args:
        source: a path (relative to this module's folder, then to the working directory), a tag of the store such as
            `text_det` or `text_det:production`, or what `models.get` gives.
        name: of the Triton model; default: the stored model's, or `Service.attribute` for a path.
        max_batch_size: rows in one batch; default 64 where the model has a batch axis. 0: no batching.
        queue_delay_us: how long Triton holds a request back for others.
        instances: copies that run at the same time; per GPU, where `gpus` is given.
        gpus: numbers of the GPUs to run on; none for the CPU.
        threads: of one instance; default: the machine's cores, shared among the instances.
        warmup: Triton runs the model once before it takes requests.
        response_cache: Triton answers equal requests from its cache.
        accelerator: `tensorrt` or `openvino`, in Triton's container.
        inputs, outputs: shapes that the file leaves open, or the outputs to keep: `["x: FP32[-1, 4]"]`.
        batched: whether axis 0 is the batch axis; default: what the file tells.
        dynamic_axes: axes of any length that the file has fixed: `{"x": [0]}`.

    Raises:
        DefinitionError: at this line; a value is not one that the option takes.
    """

    format = ModelFormat.ONNX

    def __init__(
        self,
        source: Source,
        *,
        name: str | None = None,
        max_batch_size: int | None = None,
        queue_delay_us: int = 1000,
        instances: int = 1,
        gpus: Sequence[int] = (),
        threads: int | None = None,
        warmup: bool = True,
        response_cache: bool = False,
        accelerator: str | Accelerator | None = None,
        inputs: Given | None = None,
        outputs: Given | None = None,
        batched: bool | None = None,
        dynamic_axes: DynamicAxes | None = None,
    ) -> None:
        options = {
            "max_batch_size": max_batch_size,
            "queue_delay_us": queue_delay_us,
            "instances": instances,
            "gpus": gpus,
            "threads": threads,
            "warmup": warmup,
            "response_cache": response_cache,
            "accelerator": accelerator,
        }
        super().__init__(
            source,
            name=name,
            options=options,
            inputs=inputs,
            outputs=outputs,
            batched=batched,
            dynamic_axes=dynamic_axes,
        )


class _Plain(DeclaredModel):
    """A format whose options are those of every format."""

    def __init__(
        self,
        source: Source,
        *,
        name: str | None = None,
        max_batch_size: int | None = None,
        queue_delay_us: int = 1000,
        instances: int = 1,
        gpus: Sequence[int] = (),
        threads: int | None = None,
        warmup: bool = True,
        response_cache: bool = False,
        inputs: Given | None = None,
        outputs: Given | None = None,
        batched: bool | None = None,
    ) -> None:
        options = {
            "max_batch_size": max_batch_size,
            "queue_delay_us": queue_delay_us,
            "instances": instances,
            "gpus": gpus,
            "threads": threads,
            "warmup": warmup,
            "response_cache": response_cache,
        }
        super().__init__(source, name=name, options=options, inputs=inputs, outputs=outputs, batched=batched)


class TensorRT(_Plain):
    """A TensorRT plan; it runs on the sort of GPU that it was built on. The options are `Onnx`'s."""

    format = ModelFormat.TENSORRT


class TorchScript(_Plain):
    """A TorchScript file. It does not say what it takes: give `inputs` and `outputs`. The options are `Onnx`'s."""

    format = ModelFormat.TORCHSCRIPT


class Python(_Plain):
    """A `model.py` of Triton's Python backend, or a stored model of a framework (`iris:latest`). The options are `Onnx`'s."""

    format = ModelFormat.PYTHON


_ARTICLES: Final = {
    ModelFormat.ONNX: "an ONNX",
    ModelFormat.TENSORRT: "a TensorRT",
    ModelFormat.TORCHSCRIPT: "a TorchScript",
    ModelFormat.PYTHON: "a Python",
}
_DECLARATIONS: Final[dict[ModelFormat, type[Onnx | _Plain]]] = {
    cls.format: cls for cls in (Onnx, TensorRT, TorchScript, Python)
}


def declared_as(tag: Tag) -> DeclaredModel:
    """The declaration that fits a stored model, with the usual options.

    Raises:
        DefinitionError: it has no file that Triton can run.
        StoreError: there is no such model.
    """
    record = default_store().get(tag)
    found = _format_of(record)
    if found is None:
        raise DefinitionError(f"{record.tag} has no file that Triton can run")
    return _DECLARATIONS[found](str(tag))


def _format_of(record: ModelRecord) -> ModelFormat | None:
    """What can run a stored model; a framework's own file is run by its library."""
    return ModelFormat.PYTHON if record.format is None and record.framework else record.format


def _source(source: Source) -> Path | Tag:
    if isinstance(source, PathLike):
        return Path(fspath(source))
    stored = getattr(source, "tag", None)
    text = str(stored) if stored is not None else source
    if not isinstance(text, str):
        raise DefinitionError(
            f"{type(source).__name__} is no model",
            hint="give a path, a tag such as 'text_det:latest', or models.get(...)",
        )
    if stored is None and ("/" in text or Path(text).suffix in _ENDINGS):
        return Path(text)
    try:
        return Tag.of(text)
    except ValueError as error:
        hint = "a path has a slash, or an ending such as .onnx; a tag is name, name:version or name:alias"
        raise DefinitionError(str(error), hint=hint) from None


def _checked_name(name: str | None) -> str | None:
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise DefinitionError(
            f"name={name!r} cannot be the name of a Triton model",
            hint="1 to 128 letters, digits, '_', '-' or '.', a letter or digit in front",
        )
    return name


def _options(given: Mapping[str, Any]) -> ModelOptions:
    try:
        return ModelOptions.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False)[0]
        key = str(problem["loc"][0])
        raise DefinitionError(f"{key}={given[key]!r}: {problem['msg']}") from None
