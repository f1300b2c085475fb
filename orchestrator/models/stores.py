"""The store that this process uses, and the remote one: by the settings, opened once."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from orchestrator.errors import StoreError
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.store import Store

__all__ = ["default_store", "remote_store", "use_store"]

_Place = tuple["Path", str | None, str | None]
_opened: dict[tuple[int, _Place], "Store"] = {}
"""By process, for a fork must not use what its parent has opened."""
_used: list["Store"] = []
_lock: Final = Lock()


def default_store() -> "Store":
    """The store of `use_store`, else the one of the settings.

    Raises:
        StoreError: it cannot be opened.
    """
    if _used:
        return _used[-1]
    settings = Settings.load()
    return _open((settings.home, settings.store_database, settings.store_objects))


def remote_store() -> "Store":
    """The store that `push` and `pull` reach.

    Raises:
        StoreError: the settings name none, or half of one; or it cannot be opened.
    """
    settings = Settings.load()
    needed = {
        "ORCHESTRATOR_REMOTE_DATABASE": settings.remote_database,
        "ORCHESTRATOR_REMOTE_OBJECTS": settings.remote_objects,
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise StoreError(
            f"no remote store is configured: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            hint="such as postgresql://user@host/models and s3://bucket/models",
        )
    return _open((settings.home, settings.remote_database, settings.remote_objects))


@contextmanager
def use_store(store: "Store") -> Iterator["Store"]:
    """Inside, all threads of this process use the given store, whatever the settings say; for tests."""
    _used.append(store)
    try:
        yield store
    finally:
        _used.remove(store)


def _open(place: _Place) -> "Store":
    from orchestrator.store import Store

    key = (os.getpid(), place)
    with _lock:
        if key not in _opened:
            home, database, objects = place
            _opened[key] = Store.open(home, database=database, objects=objects)
        return _opened[key]
