"""A pool of threads that a process can leave behind.

`concurrent.futures` waits for its threads when Python ends, for ever where one hangs in the user's code.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """At most `count` threads, started when they are needed.

    Args:
        name: of the threads, before their number.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._closed = False

    def submit(self, function: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Runs a function when its turn comes. Cancelling the future works until then.

        Raises:
            RuntimeError: the pool is closed.
        """
        if self._closed:
            raise RuntimeError(f"the threads of {self._name} have ended")
        outcome: Future[T] = Future()

        def run() -> None:
            if not outcome.set_running_or_notify_cancel():
                return
            try:
                outcome.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001  # whoever waits for the future gets it
                outcome.set_exception(error)

        self._work.put(run)
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._count:
            thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return outcome

    def close(self, within_s: float | None = None) -> bool:
        """Ends the threads once they have done what was submitted.

        Args:
            within_s: after this they are left behind; None waits for them.

        Returns:
            Whether they have ended.
        """
        self._closed = True
        for _ in self._threads:
            self._work.put(None)
        end = None if within_s is None else time.monotonic() + within_s
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            self._idle.release()
