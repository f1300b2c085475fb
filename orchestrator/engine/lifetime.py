"""How long a call's answer is of use to somebody: until its deadline, and while its caller waits."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.engine.board import BoardReader
from orchestrator.errors import CallCancelled, CallError, DeadlineExceeded, InvalidInput

__all__ = [
    "CALLERS_PARAMETER",
    "CALL_PARAMETER",
    "DEADLINE_PARAMETER",
    "FOREVER",
    "Lifetime",
    "callers_of",
    "deadline_after",
    "lifetime_of",
]

DEADLINE_PARAMETER: Final = "deadline_us"
"""Request parameter: microseconds since 1970 after which nobody waits for the answer. The wall clock, because the worker
may be on another machine; both must keep the same time."""
CALL_PARAMETER: Final = "call"
"""Request parameter: the call's number on the cancel board, where there is one."""
CALLERS_PARAMETER: Final = "callers"
"""Request parameter: the numbers of the calls that this one is made for, the outermost first, with commas. One that blocks
in a sync method cannot be taken off the board by its caller's leaving, so each looks for all of those above it."""


def _here() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a call's answer is of use.

    Attributes:
        deadline: seconds since 1970; None for no limit.
        gone: whether the caller has gone.
    """

    deadline: float | None = None
    gone: Callable[[], bool] = _here

    def end(self) -> CallError | None:
        """Why nobody waits for the answer any more; None while somebody does."""
        if self.deadline is not None and time.time() >= self.deadline:
            return DeadlineExceeded("the call's deadline has passed")
        return CallCancelled("the caller has gone") if self.gone() else None

    def check(self) -> None:
        """Ends work that is of no use any more.

        Raises:
            DeadlineExceeded: the deadline has passed.
            CallCancelled: the caller has gone.
        """
        error = self.end()
        if error is not None:
            raise error


FOREVER: Final = Lifetime()


def deadline_after(seconds: float) -> int:
    """The value of `DEADLINE_PARAMETER` for so many seconds from now."""
    return int((time.time() + seconds) * 1e6)


def callers_of(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of the calls that a call is made for.

    Raises:
        InvalidInput: the parameter is not what it should be.
    """
    text = parameters.get(CALLERS_PARAMETER)
    if not text:
        return ()
    try:
        return tuple(map(int, str(text).split(",")))
    except ValueError:
        raise InvalidInput(f"the request parameter {CALLERS_PARAMETER!r} takes numbers, not {text!r}") from None


def lifetime_of(parameters: Mapping[str, Any], *, board: BoardReader | None, gone: Callable[[], bool]) -> Lifetime:
    """The lifetime of a request.

    Args:
        parameters: the request's.
        board: of the machine, where there is one.
        gone: for a caller who is on no board.

    Raises:
        InvalidInput: a parameter is not what it should be.
    """
    deadline, number = parameters.get(DEADLINE_PARAMETER), parameters.get(CALL_PARAMETER)
    for name, value in ((DEADLINE_PARAMETER, deadline), (CALL_PARAMETER, number)):
        if value is not None and (type(value) is not int or value < 0):
            raise InvalidInput(f"the request parameter {name!r} takes a whole number from 0 up, not {value!r}")
    numbers = (*callers_of(parameters), int(number)) if number else callers_of(parameters)
    if board is not None and numbers:
        known = board
        if len(numbers) == 1:
            (caller,) = numbers
            gone = lambda: known.left(caller)  # noqa: E731
        else:
            gone = lambda: any(map(known.left, numbers))  # noqa: E731
    return Lifetime(None if deadline is None else deadline / 1e6, gone)
