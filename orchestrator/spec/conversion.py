"""A model in one form into a model in another, as data, and what a converter has to be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from pydantic import ConfigDict

from orchestrator.spec.frozen import Frozen
from orchestrator.spec.model import ModelFormat, ModelSignature

__all__ = ["Converted", "Converter", "OutputParity", "ParityReport", "Run", "Tolerance"]

Run = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""A model as a function: arrays by input name -> arrays by output name."""


class Tolerance(Frozen):
    """How far a converted model may be from its original: |a - b| <= absolute + relative * |original|.

    Attributes:
        disagreement: share of rows whose argmax (or, for integers and text, value) may differ.
    """

    relative: float = 1e-3
    absolute: float = 1e-4
    disagreement: float = 0.0


@dataclass(frozen=True, slots=True)
class Converted:
    """What a converter made.

    Attributes:
        format: of the file.
        file: its name in the folder that the converter was given.
        signature: of the converted model.
        original: the original, with the converted model's names of inputs and outputs.
        sample: one sample that the original takes, where the converter knows one; with the converted model's names.
        tolerance: what the conversion can keep (float16 cannot keep what float32 can); None for the usual one.
        notes: for the report: opset, what was left out.
    """

    format: ModelFormat
    file: str
    signature: ModelSignature
    original: Run
    sample: Mapping[str, NDArray[Any]] | None = None
    tolerance: Tolerance | None = None
    notes: Sequence[str] = ()


class Converter(Protocol):
    """One pair of forms. Found through the entry-point group `orchestrator.converters`, ours and anybody's alike.

    The gate that compares both models is not the converter's: `orchestrator.conversion` runs it after every one.

    Attributes:
        source: `sklearn`, `torch`, `onnx` ...
        target: `onnx`, `tensorrt` ...
        description: one line for `orchestrator convert --help`.
        options: name -> one line, of what `convert` takes besides.
    """

    source: str
    target: str
    description: str
    options: Mapping[str, str]

    def matches(self, model: object) -> bool:
        """Whether a Python object is a model of this source; must not import a framework that is not imported."""
        ...

    def load(self, path: Path) -> object:
        """Reads the model from the form that users of the framework keep it in.

        Raises:
            ConversionError: it is not such a file.
        """
        ...

    def convert(
        self,
        model: object,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        """Writes the converted model into a folder.

        Args:
            model: from `load`, or as the user has it.
            folder: empty, for the model's files.
            sample: inputs that the model takes, one row or more.
            options: those of `options` that were given.

        Raises:
            ConversionError: it cannot be converted, with the way out.
        """
        ...


class OutputParity(Frozen):
    """One output of both models, over all samples.

    Attributes:
        worst_absolute: largest |a - b|; infinity where shapes, dtypes or non-finite values differ.
        worst_relative: largest |a - b| / |original| among values that are not about zero.
        agreement: share of rows with the same argmax (floats with two columns or more) or the same value (others); None
            where neither means anything.
        passed: within the tolerance.
        reason: why not.
    """

    # JSON has no infinity, and a difference may be one.
    model_config = ConfigDict(ser_json_inf_nan="strings")

    name: str
    worst_absolute: float
    worst_relative: float
    agreement: float | None = None
    passed: bool
    reason: str = ""


class ParityReport(Frozen):
    """The proof that a conversion kept the model.

    Attributes:
        samples: inputs that were compared, in words: `8 rows of the sample`, `zeros x 3` ...
        rows: compared in all.
        time_ratio: time of the original / time of the converted, median over the same inputs.
    """

    source: str
    target: str
    samples: tuple[str, ...]
    rows: int
    tolerance: Tolerance
    outputs: tuple[OutputParity, ...]
    time_ratio: float
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.passed for output in self.outputs)
