"""One conversion: the converter, the gate, and files that appear only where both agree."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from orchestrator.conversion.gate import compare
from orchestrator.conversion.table import ParityError
from orchestrator.errors import ConversionError, DefinitionError, InvalidInput
from orchestrator.formats import OpenModel, Sample, check_inputs, generate, open_model
from orchestrator.spec.conversion import Converted, Converter, ParityReport, Tolerance
from orchestrator.spec.model import ModelSignature, NativeModelSpec
from orchestrator.spec.tensors import DType, TensorSpec

__all__ = ["Conversion", "convert"]

_GENERATED_ROWS: Final = 17


@dataclass(frozen=True, slots=True)
class Conversion:
    """A converted model that is proved to be the original.

    Attributes:
        sample: at most 8 rows and the original's outputs for them, in the converted model's dtypes: what a server that
            loads the model can prove itself with. `formats.write_sample` makes `sample.npz` of it.
    """

    converted: Converted
    report: ParityReport
    sample: Sample


def convert(
    model: object,
    converter: Converter,
    folder: Path,
    *,
    sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
    options: Mapping[str, Any] = {},
    tolerance: Tolerance | None = None,
    progress: Callable[[str], None] | None = None,
) -> Conversion:
    """Converts a model and compares it with its original.

    Args:
        model: from `converter.load`, or as the user has it.
        folder: for the model's files; absent or empty. Where the conversion fails nothing is in it.
        sample: inputs that the model takes, one row or more; made by the signature where there is none.
        options: of the converter.
        tolerance: None: what the converter says that it can keep.
        progress: is told in words what happens next.

    Raises:
        ParityError: the converted model is not the original; a ConversionError.
        ConversionError: the model cannot be converted, or `folder` holds something.
    """
    tell = progress or (lambda _: None)
    unknown = sorted(set(options) - set(converter.options))
    if unknown:
        raise ConversionError(
            f"{converter.source} -> {converter.target} has no option {', '.join(map(repr, unknown))}",
            hint=f"it has {', '.join(sorted(converter.options)) or 'none'}",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConversionError(f"{folder} is not an empty folder", hint="name one that is absent or empty")
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        tell(f"converting {converter.source} to {converter.target}")
        converted = converter.convert(model, fresh, sample=sample, options=options)
        tell("comparing the converted model with the original")
        opened = _open(fresh, converted)
        try:
            report, proof = compare(
                converted,
                opened.run,
                _sample(converted, sample),
                source=converter.source,
                target=converter.target,
                tolerance=tolerance or converted.tolerance or Tolerance(),
            )
        finally:
            opened.close()
        if not report.passed:
            # Float32 is often all that is wrong with a table model; a converter that can do better says so by this option.
            wider = "float64" in converter.options and not options.get("float64")
            raise ParityError(report, hint="the option float64=true may keep it" if wider else None)
        fresh.chmod(0o755)
        os.rename(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Conversion(converted, report, proof)


def _sample(converted: Converted, given: object) -> dict[str, NDArray[Any]]:
    """All inputs, of the signature's dtypes: the converter's, the user's where it goes by the same names, or made up."""
    signature = converted.signature
    found = converted.sample
    if found is None and isinstance(given, Mapping):
        found = given
    if found is None:
        return generate(signature, _GENERATED_ROWS, seed=0)
    missing = [spec.name for spec in signature.inputs if spec.name not in found]
    if missing:
        raise ConversionError(
            f"the sample has no input {missing[0]!r}",
            hint=f"it has {', '.join(found)}; the model takes {_names(signature)}",
        )
    arrays = {spec.name: _cast(spec, np.asarray(found[spec.name])) for spec in signature.inputs}
    try:
        arrays = check_inputs(signature, arrays)
    except InvalidInput as error:
        raise ConversionError(f"the sample does not fit the converted model: {error}") from error
    if signature.batched and not len(next(iter(arrays.values()))):
        raise ConversionError("the sample has no rows", hint="one row is enough, more show more")
    return arrays


def _cast(spec: TensorSpec, array: NDArray[Any]) -> NDArray[Any]:
    return array if spec.dtype is DType.BYTES or array.dtype.kind in "OSU" else array.astype(spec.dtype.numpy)


def _names(signature: ModelSignature) -> str:
    return ", ".join(f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in signature.inputs)


def _open(folder: Path, converted: Converted) -> OpenModel:
    spec = NativeModelSpec(
        attribute="converted",
        name="converted",
        format=converted.format,
        file=converted.file,
        signature=converted.signature,
        files_digest="",
    )
    try:
        return open_model(folder, spec)
    except DefinitionError as error:
        raise ConversionError(f"the converted model does not open: {error.message}", hint=error.hint) from error
