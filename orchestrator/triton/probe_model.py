"""The model that proves a server: it gives its inputs back. Written into every server's run directory."""

from pathlib import Path
from typing import Final

__all__ = ["PROBE_MODEL", "write_probe_model"]

PROBE_MODEL: Final = "orchestrator_probe"

_CONFIG = f"""\
name: "{PROBE_MODEL}"
backend: "python"
max_batch_size: 0
input [
  {{ name: "numbers" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "texts" data_type: TYPE_STRING dims: [ -1 ] }}
]
output [
  {{ name: "numbers" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "texts" data_type: TYPE_STRING dims: [ -1 ] }}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
"""

_MODEL = """\
import numpy  # here, not on the first request
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.copy(each, "numbers"), self.copy(each, "texts")]) for each in requests]

    def copy(self, request, name):
        # To numpy and back: that conversion is what breaks.
        return pb_utils.Tensor(name, numpy.array(pb_utils.get_input_tensor_by_name(request, name).as_numpy()))
"""


def write_probe_model(repository: Path) -> None:
    """Writes the model into a repository of its own, made here."""
    version = repository / PROBE_MODEL / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(_CONFIG, encoding="utf-8")
    (version / "model.py").write_text(_MODEL, encoding="utf-8")
