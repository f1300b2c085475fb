"""Where a worker finds the user's code."""

from typing import Final

__all__ = ["SERVICE_PATH_VARIABLE"]

SERVICE_PATH_VARIABLE: Final = "ORCHESTRATOR_SERVICE_PATH"
"""Environment of Triton: the folder of the user's code; it goes before what the exported config says."""
