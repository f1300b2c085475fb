"""A Triton that somebody else starts, perhaps later than us."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

from orchestrator.cli.background import Background
from orchestrator.cli.console import note
from orchestrator.errors import OrchestratorError

__all__ = ["awaited"]

_AGAIN_S: Final = 1.0


@contextmanager
def awaited(check: Callable[[], Awaitable[None]], there: str) -> Generator[None, None, None]:
    """Inside, a check is made again and again until it succeeds; each new reason against it is a line of the log.

    Args:
        check: raises an `OrchestratorError` for as long as something is missing.
        there: the line for when nothing is.
    """
    with Background("orchestrator-await-triton") as background:
        background.start(_until_there(check, there))
        yield


async def _until_there(check: Callable[[], Awaitable[None]], there: str) -> None:
    said = ""
    while True:
        try:
            await check()
        except OrchestratorError as error:
            if error.message != said:
                note(f"{error.message}; waiting for it")
                said = error.message
        else:
            note(there)
            return
        await asyncio.sleep(_AGAIN_S)
