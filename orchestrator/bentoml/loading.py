"""`bentoml.load` and `bentoml.Service`: services by their names, as classes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.sdk import load_service
from orchestrator.sdk.decorators import service
from orchestrator.sdk.template import given_arguments

__all__ = ["Service", "load"]

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


def Service(  # noqa: N802  # BentoML's name
    name: str,
    *,
    inner: type | None = None,
    cmd: Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> type:
    """A service without the decorator: of a class, or of a command alone.

    Args:
        name: of the service.
        inner: its class; default: an empty one, which needs a `cmd`.
        cmd: the command that is the service.
        config: keys of `@service`.
        **options: more of them.

    Raises:
        DefinitionError: an unknown key, or a wrong value.
    """
    given = {**(config or {}), **options, "name": name}
    if cmd is not None:
        given["cmd"] = list(cmd)
    return service(**given)(inner or type(name, (), {"__module__": _caller_module()}))


def _caller_module() -> str:
    """Of whoever calls `Service`: the class shall look as if it stood there."""
    return str(sys._getframe(2).f_globals.get("__name__", "__main__"))
