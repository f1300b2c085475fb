"""A model file run in this process: one way to call it, whatever its format."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from orchestrator.errors import BackendUnavailable, CallError, DefinitionError, InvalidInput, ServiceFault
from orchestrator.formats.onnx_session import OnnxSession
from orchestrator.formats.python_model import FrameworkModel
from orchestrator.formats.tensorrt_engine import TensorRTEngine
from orchestrator.formats.tensors import check_inputs
from orchestrator.formats.torchscript import TorchScriptModule
from orchestrator.spec import ModelFormat, NativeModelSpec

__all__ = ["OpenModel", "Runner", "open_model"]

_MOST_OF_A_REASON: Final = 500


class Runner(Protocol):
    """A model of one format, open."""

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs it. The inputs are those of the signature, checked; text is object arrays of `bytes`."""
        ...

    def close(self) -> None: ...


class OpenModel:
    """A model that runs in this process. Several threads may run it at once where its format allows that (ONNX does).

    Attributes:
        spec: what it is.
    """

    def __init__(self, spec: NativeModelSpec, runner: Runner) -> None:
        self.spec = spec
        self._runner: Runner | None = runner
        self._outputs = tuple(output.name for output in spec.signature.outputs)

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Runs the model once.

        Args:
            inputs: by name, with the batch axis; text as arrays of `bytes` or `str`.
            outputs: names of those that are wanted; None for all.

        Returns:
            Arrays by name, text as object arrays of `bytes` (UTF-8).

        Raises:
            InvalidInput: an input is not what the signature says, or there is no such output.
            ServiceFault: the model failed.
            BackendUnavailable: it is closed.
        """
        if self._runner is None:
            raise BackendUnavailable(f"model {self.spec.name!r} is closed")
        wanted = self._outputs if outputs is None else tuple(outputs)
        for name in wanted:
            if name not in self._outputs:
                raise InvalidInput.at([name], f"the model has no such output: it has {', '.join(self._outputs)}")
        checked = check_inputs(self.spec.signature, inputs)
        try:
            return self._runner.run(checked, wanted)
        except CallError:
            raise
        except Exception as error:  # whatever a framework raises
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ServiceFault(f"model {self.spec.name!r} failed: {reason[:_MOST_OF_A_REASON]}") from error

    def close(self) -> None:
        """Frees the model's memory; more than one call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


def open_model(
    folder: Path, spec: NativeModelSpec, *, threads: int | None = None, device: int | None = None
) -> OpenModel:
    """Opens a model's file in this process.

    Args:
        folder: holds `spec.file` and the files beside it.
        threads: that one run uses; None leaves that to the framework.
        device: number of the GPU; None: the first of `spec.options.gpus`, or the CPU.

    Raises:
        DefinitionError: the file cannot be read here: it is broken, or its framework is not installed.
    """
    path = folder / spec.file
    if not path.is_file():
        raise DefinitionError("there is no such model file", file=str(path))
    if device is None and spec.options.gpus:
        device = spec.options.gpus[0]
    runner: Runner
    match spec.format:
        case ModelFormat.ONNX:
            runner = OnnxSession(path, threads=threads, device=device)
        case ModelFormat.TENSORRT:
            runner = TensorRTEngine(path, device=device or 0)
        case ModelFormat.TORCHSCRIPT:
            runner = TorchScriptModule(path, spec.signature, threads=threads, device=device)
        case ModelFormat.PYTHON:
            runner = FrameworkModel(path, spec, threads=threads, device=device)
    return OpenModel(spec, runner)
