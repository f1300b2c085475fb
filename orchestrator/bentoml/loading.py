"""`bentoml.load`: a service by its name, as a class."""

from pathlib import Path
from typing import Final

from orchestrator.sdk import load_service
from orchestrator.sdk.template import given_arguments

__all__ = ["load"]

_DEFAULT_MODULE: Final = "service"


def load(bento_identifier: str = ".", working_dir: str | None = None) -> type:
    """The class of a service.

    Args:
        bento_identifier: `module:Class`, `module`, or `.` for the module `service`.
        working_dir: folder of the module; default: the current one.

    Raises:
        DefinitionError: it cannot be loaded.
    """
    target = _DEFAULT_MODULE if bento_identifier == "." else bento_identifier
    return load_service(target, Path(working_dir or "."), bentoml=True, arguments=given_arguments()).cls
