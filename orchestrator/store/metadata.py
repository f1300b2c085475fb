"""What people note of a version, as JSON."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import StoreError

__all__ = ["as_json"]


def as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as JSON reads it back.

    Raises:
        StoreError: a value, or a key, is nothing that JSON has; not a number is none of its numbers.
    """
    found = {}
    for key, value in metadata.items():
        try:
            found[key] = json.loads(json.dumps(value, allow_nan=False, default=_plain))
        except (TypeError, ValueError, RecursionError) as error:
            raise StoreError(f"metadata {key!r} is nothing that JSON can say: {error}") from None
        if not isinstance(key, str):
            raise StoreError(f"metadata {key!r}: a key is a text")
    return found


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.80}")
