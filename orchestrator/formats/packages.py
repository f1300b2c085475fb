"""Packages that only some formats need, imported when they do."""

from importlib import import_module
from typing import Any

from orchestrator.errors import DefinitionError

__all__ = ["package"]


def package(name: str, purpose: str, *, extra: str = "") -> Any:
    """Imports a package.

    Args:
        purpose: why, for the message: `to read an ONNX file`.
        extra: of this distribution, that brings it.

    Raises:
        DefinitionError: it is not installed, or does not import.
    """
    try:
        return import_module(name)
    except ImportError as error:
        root = name.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != root:
            raise DefinitionError(f"the package {root} does not import: {error}", hint="install it again") from error
        hint = f"pip install 'triton-orchestrator[{extra}]'" if extra else f"install {root}"
        raise DefinitionError(f"the package {root} is needed {purpose}", hint=hint) from error
