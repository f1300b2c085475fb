"""`save_model`: a trained model in one line; its ONNX, and the proof of it, beside it where that is asked for."""

import filecmp
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import ConversionError, DefinitionError, OrchestratorError, StoreError
from orchestrator.formats import SAMPLE_FILE, Sample, read_signature, write_sample
from orchestrator.models.extras import Signatures, extras_of, write_custom_objects
from orchestrator.models.faults import as_store_error
from orchestrator.models.frameworks import Framework
from orchestrator.models.proving import Given, prove, run_model
from orchestrator.models.sources import Source, kind_of, require_framework, source_of
from orchestrator.models.stored import PARITY_FILE, Model
from orchestrator.models.stores import default_store
from orchestrator.models.tags import TagLike, tag_of
from orchestrator.models.writing import versions_of, writing
from orchestrator.spec import ModelFormat, ModelSignature
from orchestrator.spec.conversion import Tolerance

__all__ = ["save_model"]

_USUAL_TOLERANCE: Final = (1e-3, 1e-4)
_CONVERTERS_PACKAGES: Final = ("onnx", "onnxruntime", "skl2onnx", "onnxmltools", "tensorrt")


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the store is to know of the files, as `Store.save` calls it."""

    format: ModelFormat | None = None
    file: str | None = None
    method: str = ""
    signature: ModelSignature | None = None
    tolerance: tuple[float, float] = _USUAL_TOLERANCE
    sample: Sample | None = None


def save_model(
    name: TagLike,
    model: Any,
    *,
    sample: Given = None,
    to: str | None = None,
    framework: str | None = None,
    signature: ModelSignature | None = None,
    signatures: Signatures | None = None,
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    tolerance: Tolerance | tuple[float, float] | None = None,
    options: Mapping[str, Any] | None = None,
    aliases: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
    module: str = "",
) -> Model:
    """Saves a trained model as a new version.

        models.save_model("iris", classifier, to="onnx", metadata={"accuracy": 0.97})

    Args:
        name: `name`, for a version that is made up; or `name:version`.
        model: a framework's object; or a path of its file or folder.
        sample: inputs that the model takes, a row or more. It gives the signature where the file does not, and is kept:
            with it every server that loads the model proves that it still gives the same.
        to: `onnx`, or another target that there is a converter for: the converted model is kept beside the original, with
            the report of the comparison (`parity.json`), and is what Triton runs.
        framework: `sklearn`, `xgboost` ...; default: what the model, or the file, is.
        signature: what the model takes and gives, where nothing else says it.
        signatures: method -> `{"batchable": ...}`; one method is the one that a call runs.
        labels: texts by name, to select by; they can change later.
        metadata: whatever JSON can say; it never changes.
        custom_objects: Python objects to be pickled and kept along.
        tolerance: how far the converted model, or the same model on another machine, may be: (relative, absolute).
        options: of the converter.
        aliases: that point to this version from now on, such as `production`.
        progress: is told in words what happens next.
        module: that `Model.info` names, for people.

    Raises:
        ConversionError: the model cannot be converted, or the converted one is not the same. Nothing is saved.
        StoreError: the framework is not known, the model does not take the sample, or the tag is taken.
    """
    tag = tag_of(name)
    for alias in aliases:
        tag_of(f"{tag.name}:{alias}")
    source = source_of(model, framework, to)
    allowed = Tolerance(relative=tolerance[0], absolute=tolerance[1]) if isinstance(tolerance, tuple) else tolerance
    method = next(iter(signatures)) if signatures is not None and len(signatures) == 1 else ""
    extras = extras_of(module, signatures)
    with writing(tag) as new:
        folder = Path(new.path)
        if to is not None:
            if signature is not None:
                raise StoreError(
                    "signature= is for a model that is not converted", hint="the converted one has its own"
                )
            facts = _convert(source, to, folder, sample=sample, options=options or {}, allowed=allowed, tell=progress)
        else:
            if options:
                raise StoreError(f"options={dict(options)!r} are those of a conversion", hint="say to='onnx', too")
            with as_store_error():
                facts = _keep(source, folder, method=method, signature=signature, sample=sample, allowed=allowed)
        if facts.sample is not None and _has_rows(facts.sample):
            write_sample(folder / SAMPLE_FILE, facts.sample)
        write_custom_objects(folder, custom_objects)
        packages = (*(source.row.packages if source.row else (source.kind,)), *(_CONVERTERS_PACKAGES if to else ()))
        new.save(
            framework=source.row.name if source.row else source.kind,
            format=facts.format,
            file=facts.file,
            method=facts.method,
            signature=facts.signature,
            tolerance=facts.tolerance,
            labels=labels or {},
            metadata=metadata or {},
            context=versions_of(packages) | extras,
        )
    store = default_store()
    for alias in aliases:
        store.set_alias(tag.name, alias, new.tag.version)
    return Model(new.record, store)


def _convert(
    source: Source,
    to: str,
    folder: Path,
    *,
    sample: Given,
    options: Mapping[str, Any],
    allowed: Tolerance | None,
    tell: Callable[[str], None] | None,
) -> _Facts:
    from orchestrator.conversion import convert, find_converter

    converter = find_converter(source.kind, to)
    if tell and source.path is not None:
        tell(f"reading {source.path.name}")
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, _told(source, to):
        value = source.value if source.path is None else converter.load(source.path)
        # Some converters read a folder themselves.
        if not isinstance(value, Path) and not converter.matches(value):
            raise ConversionError(
                f"a {kind_of(value)} is no model of {source.kind}", hint="name the framework that made it"
            )
        place = Path(scratch, "converted")
        made = convert(value, converter, place, sample=sample, options=options, tolerance=allowed, progress=tell)
        if source.kind != to:  # of an ONNX made smaller, the smaller one is the model
            source.write(folder)
        _move(place, folder)
    (folder / PARITY_FILE).write_bytes(made.report.document())
    kept = made.report.tolerance
    return _Facts(
        format=made.converted.format,
        file=made.converted.file,
        method=source.row.method_of(value) if source.row else "",
        signature=made.converted.signature,
        tolerance=(kept.relative, kept.absolute),
        sample=made.sample,
    )


@contextmanager
def _told(source: Source, to: str) -> Iterator[None]:
    """One line of whatever a converter raises, and it may be anybody's: tracebacks are for those who look for them."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        what = source.path or kind_of(source.value)
        raise ConversionError(f"{source.kind} -> {to} failed for {what}: {type(error).__name__}: {reason}") from error


def _move(converted: Path, folder: Path) -> None:
    for file in sorted(each for each in converted.rglob("*") if each.is_file()):
        target = folder / file.relative_to(converted)
        if target.exists():
            if filecmp.cmp(file, target, shallow=False):  # a tokenizer that both need
                continue
            raise ConversionError(
                f"the model has a file {target.name} of its own, where the converted one would be",
                hint="save that file instead, or move it away",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target)


def _keep(
    source: Source,
    folder: Path,
    *,
    method: str,
    signature: ModelSignature | None,
    sample: Given,
    allowed: Tolerance | None,
) -> _Facts:
    """Writes a model as it is, and finds out what can be known of it."""
    file = source.write(folder)
    row = source.row
    tolerance = (allowed.relative, allowed.absolute) if allowed else _USUAL_TOLERANCE
    if row is None and file == "model.py":
        return _Facts(ModelFormat.PYTHON, file, signature=signature or _readable(folder, ModelFormat.PYTHON, file))
    value = source.value
    if row is not None and row.format is ModelFormat.PYTHON:
        value = source.read(folder, file)
        method = _method_of(value, row, method)
    if row is None or row.format is None or (row.name == "pickle" and not method):
        if sample is not None:
            raise StoreError("nothing here can run this model, so sample= says nothing of it", hint="to='onnx'")
        return _Facts(file=file or None, signature=signature, tolerance=tolerance)
    if signature is None and row.format in (ModelFormat.ONNX, ModelFormat.TENSORRT):
        signature = (_readable if row.format is ModelFormat.TENSORRT else _read)(folder, row.format, file)
    proof = None
    if sample is not None:
        expected = None
        if signature is None:
            value = source.read(folder, file) if value is None else value
            signature, run = run_model(value, row.name, method, sample)
            sample, expected = run.inputs, run.outputs
        proof = prove(
            folder,
            format=row.format,
            file=file,
            framework=row.name,
            method=method,
            signature=signature,
            sample=sample,
            expected=expected,
            tolerance=tolerance,
        )
    return _Facts(row.format, file, method, signature, tolerance, proof)


def _method_of(value: Any, row: Framework, asked: str) -> str:
    """What a call of a Python model runs; "" for a pickle that nobody will call."""
    require_framework(value, row)
    method = asked or row.method_of(value)
    if callable(getattr(value, method or "", None)) or (row.name == "pickle" and not asked):
        return method
    words = repr(asked) if asked else " or ".join(map(repr, row.methods))
    raise StoreError(f"a {kind_of(value)} has no method {words}", hint="signatures={'method': {}} names another")


def _read(folder: Path, format: ModelFormat, file: str) -> ModelSignature:
    return read_signature(folder, format, file=file)


def _readable(folder: Path, format: ModelFormat, file: str) -> ModelSignature | None:
    """The signature, where this machine can read it: of a TensorRT plan only one with TensorRT can."""
    try:
        return read_signature(folder, format, file=file)
    except DefinitionError:
        return None


def _has_rows(sample: Sample) -> bool:
    return all(array.size for array in sample.inputs.values())
