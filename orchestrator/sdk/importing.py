"""Imports that only a worker needs."""

import contextlib
import logging
from collections.abc import Iterator

__all__ = ["demand_imports", "importing"]

logger = logging.getLogger("orchestrator.sdk")
_demanded = False


def demand_imports() -> None:
    """From now on this process is one that runs the service: what `importing` guards must be installed."""
    global _demanded
    _demanded = True


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
        logger.info("%s: left out, for this process only reads the service", error)
