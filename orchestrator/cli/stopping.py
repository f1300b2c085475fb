"""How front-end processes stop: requests in flight first, then uvicorn."""

import asyncio
import logging
import os
import signal
import time
from types import FrameType
from typing import Any, Final

from uvicorn.supervisors import Multiprocess

from orchestrator.server import Drain

__all__ = ["Frontends", "stop_gently"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_END_S: Final = 15.0
"""What a front-end process may need from the end of its requests to its own: connections, hooks, threads."""
logger = logging.getLogger("orchestrator.cli")


def stop_gently(drain: Drain, within_s: float) -> None:
    """From now on SIGTERM and SIGINT let the requests in flight end before whoever handled them so far is told.

    A second SIGINT is passed on at once. To be called on the event loop of the front-end, in the main thread; whoever has
    set the handlers before resets them.

    Args:
        within_s: how long the requests may take.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    stopping: list[asyncio.Task[None]] = []

    async def stop(number: int) -> None:
        if not await drain.finish(within_s):
            logger.warning("requests had not ended %g s after the order to stop", within_s)
        pass_on(number)

    def pass_on(number: int, frame: FrameType | None = None) -> None:
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    def start(number: int) -> None:
        if not stopping:
            stopping.append(loop.create_task(stop(number)))
        elif number == signal.SIGINT:
            pass_on(number)

    for each in _SIGNALS:
        signal.signal(each, lambda number, _: loop.call_soon_threadsafe(start, number))


class Frontends(Multiprocess):
    """Several front-end processes on one port.

    Args:
        within_s: how long the requests in flight may take once the processes shall stop.
    """

    def __init__(self, *arguments: Any, within_s: float, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._within_s = within_s
        for number in _SIGNALS:
            signal.signal(number, self._tell)

    def _tell(self, number: int, _: FrameType | None) -> None:
        # At once: the loop of `Multiprocess` looks twice a second.
        self.signal_queue.append(number)
        for process in self.processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, signal.SIGTERM)

    def terminate_all(self) -> None:
        super().terminate_all()
        # They have their own: with ours open, too, a request that comes when they have gone would wait for nobody.
        for sock in self.sockets:
            sock.close()

    def join_all(self) -> None:
        end = time.monotonic() + self._within_s + _END_S
        for process in self.processes:
            process.process.join(max(0.0, end - time.monotonic()))
            if process.exitcode is None:
                logger.warning("front-end process %s did not stop, and is killed", process.pid)
                process.process.kill()
                process.process.join()
