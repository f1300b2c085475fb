"""How long to wait before the next try of something that keeps failing."""

from typing import Final

__all__ = ["Backoff"]

_FIRST_S: Final = 0.25
_LONGEST_S: Final = 30.0
_STABLE_S: Final = 3.0


class Backoff:
    """The first try is at once; each that follows on a failure within 3 s waits twice as long, up to 30 s.

    Times are seconds on any one clock.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._last: float | None = None

    def next(self, now: float) -> float:
        """Seconds to wait before the try that is due now."""
        if self._last is None or now - self._last >= _STABLE_S:
            self._failures = 0
        else:
            self._failures += 1
        wait_s = min(_FIRST_S * 2 ** (self._failures - 1), _LONGEST_S) if self._failures else 0.0
        self._last = now + wait_s
        return wait_s

    def done(self, now: float) -> None:
        """The try succeeded; what fails within 3 s from now is the same trouble."""
        self._last = now
