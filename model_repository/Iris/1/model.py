"""Written by `orchestrator export`. The service's code is not in here: see `service_path` in ../config.pbtxt."""

from orchestrator.worker.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
