"""Imports that only a worker needs."""

import contextlib
import logging
from collections.abc import Iterator

from orchestrator.errors import DefinitionError

__all__ = ["demand_imports", "importing"]

logger = logging.getLogger("orchestrator.sdk")
_demanded = False
_left_out: list[ImportError] = []


def demand_imports() -> None:
    """From now on this process is one that runs the service: what `importing` guards must be installed.

    Raises:
        DefinitionError: something was left out before.
    """
    global _demanded
    _demanded = True
    for error in _left_out:
        raise DefinitionError(f"{error}, and this process runs the service", hint="install it here") from error


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Imports of packages that are installed only where the service runs.

        with orchestrator.importing():
            import torch

    A command that only reads the class (`export`, `config show`, the front-end) goes on without them; a worker does not.
    """
    try:
        yield
    except ImportError as error:
        if _demanded:
            raise
        _left_out.append(error)
        logger.info("%s; this process only reads the service, so it goes on", error)
