"""A stored model's own file, and the framework's object in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.errors import StoreError
from orchestrator.models.faults import as_store_error
from orchestrator.models.frameworks import FRAMEWORKS, Framework, named_framework
from orchestrator.models.pickles import require_trusted
from orchestrator.spec import ModelRecord

__all__ = ["find_own_file", "read_model", "require_readable"]

PathOf = Callable[[str], str]
"""A file of the model, by its path in it; "" for all of them."""


def read_model(record: ModelRecord, path_of: PathOf, *, trust: bool) -> Any:
    """The framework's own object.

    Raises:
        StoreError: the framework is not known, or cannot read the file here; or it is a pickle that somebody else may
            have written, and there is no trust.
    """
    row = FRAMEWORKS.get(record.framework)
    if row is None:
        what = f"is of {record.framework!r}" if record.framework else "does not say which framework it is of"
        raise StoreError(
            f"{record.tag} {what}, so it cannot be read for you", hint="read its files: model.path_of(...)"
        )
    path = Path(path_of(_own(record, row, trust=trust)))
    with as_store_error():
        return row.read(path)


def find_own_file(record: ModelRecord, path_of: PathOf, framework: str) -> Path:
    """The file, or folder, of a stored model that is of a framework.

    Raises:
        StoreError: there is none, or it is a pickle that somebody else may have written.
    """
    return Path(path_of(_own(record, named_framework(framework), trust=False)))


def require_readable(record: ModelRecord) -> None:
    """Refuses a model whose own file is a pickle that somebody else may have written.

    Raises:
        StoreError: it is.
    """
    row = FRAMEWORKS.get(record.framework)
    if row is not None:
        _own(record, row, trust=False)


def _own(record: ModelRecord, row: Framework, *, trust: bool) -> str:
    if not row.endings:
        return ""
    paths = {file.path for file in record.files}
    own = next((file for file in row.files if file in paths), None)
    if own is None:
        raise StoreError(
            f"{record.tag} has no file of {row.name} ({' or '.join(row.files)})",
            hint=f"it has {', '.join(sorted(paths))}",
        )
    if row.is_pickle(own) and not trust:
        require_trusted(record, own)
    return own
