"""A TorchScript file run by torch in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.packages import package
from orchestrator.formats.results import named
from orchestrator.spec import ModelSignature

__all__ = ["TorchScriptModule"]


class TorchScriptModule:
    """A scripted or traced module. Inputs go to it by position, in the signature's order.

    Raises:
        DefinitionError: torch is not installed, or cannot read the file.
    """

    def __init__(self, path: Path, signature: ModelSignature, *, threads: int | None, device: int | None) -> None:
        self._torch = package("torch", "to run a TorchScript model", extra="torch")
        self._signature = signature
        if threads is not None:
            self._torch.set_num_threads(threads)
        cuda = device is not None and self._torch.cuda.is_available()
        self._device = f"cuda:{device}" if cuda else "cpu"
        try:
            self._module: Any = self._torch.jit.load(str(path), map_location=self._device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise DefinitionError(f"torch cannot read this model: {_first_line(error)}", file=str(path)) from error

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs the module without gradients."""
        # A copy: what Triton hands over is read-only, which torch's tensors cannot be.
        tensors = [self._torch.from_numpy(array.copy()).to(self._device) for array in inputs.values()]
        with self._torch.inference_mode():
            return named(self._module(*tensors), self._signature, outputs)

    def close(self) -> None:
        self._module = None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
