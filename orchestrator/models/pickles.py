"""Pickles: written so that they can be read elsewhere, and read only where their writer is known."""

import pickle
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import StoreError
from orchestrator.spec import ModelRecord

__all__ = ["read_pickle", "require_trusted", "write_pickle"]

_ORIGINS: Final = {"import": "imported from a file", "pull": "pulled from another store"}


def write_pickle(path: Path, value: object) -> None:
    """Writes a pickle; functions and classes of a script or a notebook go into it whole, where cloudpickle is installed.

    Raises:
        StoreError: the value cannot be pickled.
    """
    try:
        import cloudpickle  # type: ignore[import-untyped]
    except ImportError:
        dumps = pickle.dumps
    else:
        dumps = cloudpickle.dumps
    try:
        path.write_bytes(dumps(value))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise StoreError(f"a {type(value).__name__} cannot be pickled: {error}", hint="save a file instead") from error


def read_pickle(path: Path) -> Any:
    """Reads a pickle, which runs code of whoever wrote it.

    Raises:
        StoreError: the packages that made it are not installed, or are of other versions.
    """
    try:
        return pickle.loads(path.read_bytes())  # noqa: S301 - `require_trusted` comes first
    except Exception as error:  # a pickle may raise anything
        reason = " ".join(str(error).split())
        raise StoreError(
            f"{path.name} cannot be read: {type(error).__name__}: {reason}",
            hint="the packages that made it must be here, in the versions that `orchestrator models get` shows",
        ) from error


def require_trusted(record: ModelRecord, file: str) -> None:
    """Refuses a pickle that somebody else may have written.

    Raises:
        StoreError: the model came from elsewhere.
    """
    if record.origin:
        came = _ORIGINS.get(record.origin, f"brought by {record.origin}")
        raise StoreError(
            f"{record.tag} was {came}, and {file} is a pickle: reading it runs code of whoever wrote it",
            hint=f"where you trust them: save_model(name, load_model('{record.tag}', trust=True)); or take its ONNX",
        )
