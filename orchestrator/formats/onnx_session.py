"""An ONNX file run by onnxruntime in this process."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DefinitionError
from orchestrator.formats.packages import package
from orchestrator.formats.tensors import bytes_of, text_of

__all__ = ["OnnxSession"]

logger = logging.getLogger("orchestrator.formats")


class OnnxSession:
    """One session. Several threads may run it at once.

    Args:
        model: the file, or its bytes where it has no external weights.
        threads: that one run uses; None leaves that to onnxruntime, which takes every core.
        device: number of the GPU; None for the CPU. Without onnxruntime's CUDA provider it is the CPU, too.

    Raises:
        DefinitionError: onnxruntime is not installed, or cannot read the model.
    """

    def __init__(self, model: Path | bytes, *, threads: int | None = None, device: int | None = None) -> None:
        ort = package("onnxruntime", "to run an ONNX model", extra="onnx")
        options = ort.SessionOptions()
        options.log_severity_level = 4  # it writes to standard error what it raises as well
        if threads is not None:
            options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that spin after their work take the cores from other instances.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        providers: list[Any] = ["CPUExecutionProvider"]
        if device is not None and "CUDAExecutionProvider" in ort.get_available_providers():
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": device}))
        source = model if isinstance(model, bytes) else os.fspath(model)
        try:
            self._session: Any = ort.InferenceSession(source, options, providers=providers)
        except Exception as error:  # whatever onnxruntime raises: its exceptions have no root of their own
            raise DefinitionError(f"onnxruntime cannot read this model: {_reason(error)}", file=_name(model)) from error
        if device is not None and "CUDAExecutionProvider" not in self._session.get_providers():
            logger.warning(
                "%s: onnxruntime has no CUDA here, so it runs on the CPU and not on GPU %d", _name(model), device
            )
        self._text = {each.name for each in self._session.get_inputs() if each.type == "tensor(string)"}

    def run(self, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Runs the model; text is UTF-8 `bytes` here and `str` in onnxruntime."""
        feeds = {name: text_of(name, array) if name in self._text else array for name, array in inputs.items()}
        arrays = (np.asarray(each) for each in self._session.run(list(outputs), feeds))
        return {
            name: bytes_of(array) if array.dtype.kind in "OSU" else array
            for name, array in zip(outputs, arrays, strict=True)
        }

    def close(self) -> None:
        """Frees the session's memory."""
        self._session = None


def _name(model: Path | bytes) -> str | None:
    return None if isinstance(model, bytes) else str(model)


def _reason(error: Exception) -> str:
    """`[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from x failed:Protobuf parsing failed.` without its head."""
    text = " ".join(str(error).split())
    return text.rpartition(" : ")[2] if text.startswith("[ONNXRuntimeError]") else text
