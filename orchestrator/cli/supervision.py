"""Our Triton under supervision, for as long as it serves."""

import concurrent.futures
import contextlib
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final

from orchestrator.cli.background import Background
from orchestrator.cli.console import note
from orchestrator.spec import Traffic
from orchestrator.triton import TritonServer
from orchestrator.triton.supervisor import Supervisor
from orchestrator.triton.turns import Turns

__all__ = ["supervised"]

_END_S: Final = 5.0


@contextmanager
def supervised(
    server: TritonServer, traffic: Traffic, load: Callable[[], Awaitable[None]], background: Background
) -> Generator[Turns, None, None]:
    """Inside, what dies of a server comes again. It ends before the server is stopped, whatever it is at.

    Args:
        server: its models are loaded.
        traffic: says what hangs.
        load: loads what is on disk, in the background's event loop.

    Yields:
        Whose turn it is to load a model.
    """
    turns = Turns()
    supervisor = Supervisor(
        server, load=load, drain_s=traffic.timeout_s, hang_s=traffic.hangs_after_s, turns=turns, say=note
    )
    life = background.start(supervisor.run())
    try:
        yield turns
    finally:
        life.cancel()
        with contextlib.suppress(concurrent.futures.CancelledError, TimeoutError):
            life.result(_END_S)
