"""What BentoML's `create` takes besides: module, signatures and custom objects, and where a stored model has them.

The first two are text among the context of its record, the objects a pickle among its files.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import StoreError
from orchestrator.models.pickles import read_pickle, require_trusted, write_pickle
from orchestrator.spec import ModelRecord

__all__ = [
    "CUSTOM_OBJECTS",
    "Signatures",
    "context_of",
    "custom_objects_of",
    "extras_of",
    "module_of",
    "signatures_of",
    "write_custom_objects",
]

CUSTOM_OBJECTS: Final = "custom_objects.pkl"
_MODULE: Final = "module"
_SIGNATURES: Final = "signatures"
Signatures = Mapping[str, Mapping[str, Any]]


def extras_of(module: str, signatures: Signatures | None) -> dict[str, str]:
    """The entries of a record's context.

    Raises:
        StoreError: the signatures are not `{"predict": {"batchable": True}}`.
    """
    found = {_MODULE: module} if module else {}
    if signatures is not None:
        try:
            plain = {str(method): dict(settings) for method, settings in signatures.items()}
            found[_SIGNATURES] = json.dumps(plain)
        except (TypeError, ValueError, AttributeError):
            raise StoreError(
                f"signatures={signatures!r}: takes settings by method", hint="such as {'predict': {'batchable': True}}"
            ) from None
    return found


def context_of(record: ModelRecord) -> dict[str, str]:
    """The record's context without those entries: versions by package."""
    return {key: value for key, value in record.context.items() if key not in (_MODULE, _SIGNATURES)}


def module_of(record: ModelRecord) -> str:
    """The module that the model was made with; empty where nobody said."""
    return record.context.get(_MODULE, "")


def signatures_of(record: ModelRecord) -> dict[str, dict[str, Any]]:
    """Method -> its settings; of a model that nobody gave any for: the method that a call runs."""
    if _SIGNATURES in record.context:
        found: dict[str, dict[str, Any]] = json.loads(record.context[_SIGNATURES])
        return found
    if not record.method:
        return {}
    return {record.method: {"batchable": record.signature is not None and record.signature.batched}}


def write_custom_objects(folder: Path, objects: Mapping[str, Any] | None) -> None:
    """Puts the objects among a model's files.

    Raises:
        StoreError: one cannot be pickled.
    """
    if objects:
        write_pickle(folder / CUSTOM_OBJECTS, dict(objects))


def custom_objects_of(record: ModelRecord, path_of: Callable[[str], str]) -> dict[str, Any]:
    """Reads them back.

    Args:
        path_of: gives a file of the model, by its path in it.

    Raises:
        StoreError: the model came from another store, or the packages of its objects are not installed.
    """
    if not any(file.path == CUSTOM_OBJECTS for file in record.files):
        return {}
    require_trusted(record, CUSTOM_OBJECTS)
    found: dict[str, Any] = read_pickle(Path(path_of(CUSTOM_OBJECTS)))
    return found
