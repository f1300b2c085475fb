"""How many requests one client may send: a bucket of tokens for each."""

import math
import time
from collections import OrderedDict
from typing import Final

from orchestrator.errors import Overloaded
from orchestrator.spec.config import Rate

__all__ = ["Rates"]

_MOST_CLIENTS: Final = 10_000
"""Names in tokens are without number. Whoever has paused longest is forgotten first, and by then has a full bucket again."""


class Rates:
    """Counts the requests of each client in this process.

    Args:
        rate: of one client.
        processes: that share it.
    """

    def __init__(self, rate: Rate, *, processes: int = 1) -> None:
        self._per_s = math.inf if rate.per_second is None else rate.per_second / processes
        self._burst = max(1.0, rate.at_once / processes)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Counts a request.

        Raises:
            Overloaded: it is one too many now.
        """
        if self._per_s == math.inf:
            return
        now = time.monotonic()
        left, at = self._buckets.get(client, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._per_s)
        if left < 1:
            wait_s = (1 - left) / self._per_s
            raise Overloaded(f"{client} sends too many requests", retry_after_s=wait_s)
        self._buckets[client] = left - 1, now
        self._buckets.move_to_end(client)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
