"""A file that is read again once it has changed, so that keys are replaced without a restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from orchestrator.errors import SettingsError

__all__ = ["Watched"]

_AGAIN_S: Final = 1.0
"""How old what we know of the file may be."""
logger = logging.getLogger("orchestrator.server")
T = TypeVar("T")


class Watched(Generic[T]):
    """The content of a file.

    Args:
        key: of the configuration that names the file.
        read: makes the value; raises `ValueError` with a sentence, in which there is nothing secret.

    Raises:
        SettingsError: it cannot be read now. Later it keeps the value that it has, and says so in the log.
    """

    def __init__(self, key: str, path: str | Path, read: Callable[[bytes], T]) -> None:
        self._key = key
        self._path = Path(path)
        self._read = read
        self._look_at = 0.0
        self._seen: tuple[int, int, int] | None = None
        try:
            self.value = self._load()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{key}={str(path)!r}: cannot be used: {reason}") from None

    def fresh(self, *, now: bool = False) -> T:
        """The value, not older than a second.

        Args:
            now: look at the file, however short ago that was.
        """
        if now or time.monotonic() >= self._look_at:
            self._look()
        return self.value

    def _look(self) -> None:
        self._look_at = time.monotonic() + _AGAIN_S
        seen = self._seen
        try:
            if self._signature() != seen:
                self.value = self._load()
                logger.info("%s was read again", self._key)
        except FileNotFoundError:  # it is being replaced, or has gone
            if seen is not None:
                self._seen = None
                logger.error("%s is not there; what was read before holds", self._key)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            logger.error("%s cannot be used, what was read before holds: %s", self._key, reason)

    def _load(self) -> T:
        # First, so that what cannot be used is read, and told of, once for each change.
        self._seen = self._signature()
        return self._read(self._path.read_bytes())

    def _signature(self) -> tuple[int, int, int]:
        found = os.stat(self._path)
        return found.st_mtime_ns, found.st_size, found.st_ino
