"""The files of the model that tells other machines how this Triton is: `worker/health_model.py` is its code."""

import json
from pathlib import Path

from orchestrator.engine.health import HEALTH_MODEL

__all__ = ["write_health_model"]

_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "seen" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [
  {{ name: "digest" data_type: TYPE_STRING dims: [ 1 ] }},
  {{ name: "report" data_type: TYPE_STRING dims: [ 1 ] }}
]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
parameters {{ key: "folder" value {{ string_value: {folder} }} }}
"""
_MODEL = "from orchestrator.worker.health_model import TritonPythonModel as TritonPythonModel\n"


def write_health_model(repository: Path, folder: Path) -> None:
    """Writes the model into a repository, made here.

    Args:
        folder: where the supervisor writes its health file.
    """
    version = repository / HEALTH_MODEL / "1"
    version.mkdir(parents=True)
    text = _CONFIG.format(name=HEALTH_MODEL, folder=json.dumps(str(folder)))
    (version.parent / "config.pbtxt").write_text(text, encoding="utf-8")
    (version / "model.py").write_text(_MODEL, encoding="utf-8")
