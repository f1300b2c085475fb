"""A TensorRT engine, read and run with the `tensorrt` package. It needs a GPU of the kind that it was built for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.packages import package
from orchestrator.spec import DType, TensorSpec

__all__ = ["TensorRTEngine", "read_tensors"]

_DTYPES: Final = {
    "FLOAT": DType.FP32,
    "HALF": DType.FP16,
    **{name: DType(name) for name in ("BOOL", "UINT8", "INT8", "INT32", "INT64")},
}


def read_tensors(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of a plan.

    Raises:
        DefinitionError: `tensorrt` is not installed, or cannot read the file here.
    """
    try:
        trt = package("tensorrt", "to read a TensorRT plan")
    except DefinitionError as error:
        hint = "give inputs= and outputs=, such as inputs=['x: FP32[-1, 4]'], or install tensorrt"
        raise DefinitionError(error.message, file=str(path), hint=hint) from None
    engine = _deserialize(trt, path)
    found: dict[bool, list[TensorSpec]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        word = engine.get_tensor_dtype(name).name
        if word not in _DTYPES:
            raise DefinitionError(f"{name!r} is of {word.lower()}, which Triton does not have", file=str(path))
        tensor = TensorSpec(name=name, dtype=_DTYPES[word], shape=tuple(engine.get_tensor_shape(name)))
        found[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(tensor)
    return tuple(found[True]), tuple(found[False])


class TensorRTEngine:
    """One engine with one context; its buffers are torch's. Only one thread may run it at a time.

    Raises:
        DefinitionError: `tensorrt` or `torch` is not installed, there is no GPU, or the file cannot be read on it.
    """

    def __init__(self, path: Path, *, device: int) -> None:
        trt = package("tensorrt", "to run a TensorRT plan")
        self._torch = package("torch", "to run a TensorRT plan in this process: its buffers", extra="torch")
        if not self._torch.cuda.is_available():
            raise DefinitionError(
                "a TensorRT plan needs a GPU", file=str(path), hint="serve the ONNX file it came from"
            )
        self._device = f"cuda:{device}"
        with self._torch.cuda.device(self._device):
            self._engine: Any = _deserialize(trt, path)
            self._context: Any = self._engine.create_execution_context()

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs the engine; every output is computed, whatever is wanted."""
        torch, context = self._torch, self._context
        with torch.cuda.device(self._device):
            held = {name: torch.from_numpy(array.copy()).to(self._device) for name, array in inputs.items()}
            for name, tensor in held.items():
                if not context.set_input_shape(name, tuple(tensor.shape)):
                    raise ValueError(f"no optimization profile of this plan takes {name} of {list(tensor.shape)}")
            for index in range(self._engine.num_io_tensors):
                name = self._engine.get_tensor_name(index)
                if name not in held:
                    dtype = getattr(torch, _DTYPES[self._engine.get_tensor_dtype(name).name].numpy)
                    shape = tuple(context.get_tensor_shape(name))
                    held[name] = torch.empty(shape, dtype=dtype, device=self._device)
                context.set_tensor_address(name, held[name].data_ptr())
            stream = torch.cuda.current_stream()
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT refused to run; its own log has the reason")
            stream.synchronize()
            return {name: held[name].cpu().numpy() for name in outputs}

    def close(self) -> None:
        self._context = self._engine = None


def _deserialize(trt: Any, path: Path) -> Any:
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        hint = "a plan runs only on the kind of GPU and the version of TensorRT that built it"
        raise DefinitionError("TensorRT cannot read this plan here", file=str(path), hint=hint)
    return engine
