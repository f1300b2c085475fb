"""What a file's reader says, as the store's error: whoever saves or loads a model has defined nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import DefinitionError, StoreError

__all__ = ["as_store_error"]


@contextmanager
def as_store_error() -> Iterator[None]:
    """Turns a DefinitionError into a StoreError with the same words."""
    try:
        yield
    except DefinitionError as error:
        where = f"{error.file}: " if error.file else ""
        raise StoreError(f"{where}{error.message}", hint=error.hint) from error
