"""How much of a service may run at once, and how much may wait: from its spec.

Calls are counted, and weighed. The weight is in units of which a batch of the service's model has `max_batch_size` (a
model that does not batch: one), so that two batches a worker are `2 * workers * max_batch_size` units, whatever the
calls in them are.
"""

import math
from dataclasses import dataclass
from typing import Final

from orchestrator.spec import ApiSpec, Placement, ServiceSpec

__all__ = ["BATCHES", "Capacity", "capacity_of", "share", "size_of"]

BATCHES: Final = 2
"""That a worker has: one it runs, one that is there when that ends."""
_MAX_QUEUE: Final = 1000


@dataclass(frozen=True, slots=True)
class Capacity:
    """Limits of one front-end process; None for none.

    Attributes:
        units: handed to the backend at once. The call that reaches it may be larger than what is left.
        calls: that run at once.
        queue: calls that wait.
        total: calls that run or wait.
    """

    units: int | None = None
    calls: int | None = None
    queue: int | None = None
    total: int | None = None


def share(most: int, processes: int) -> int:
    """What one of several front-end processes has of a limit of them all."""
    return math.ceil(most / processes)


def capacity_of(service: ServiceSpec, processes: int) -> Capacity:
    """The limits of one of several front-end processes."""
    traffic = service.traffic
    at_once = [most for most in (traffic.max_concurrency,) if most is not None]
    if traffic.external_queue and traffic.concurrency is not None:
        at_once.append(traffic.concurrency)
    queue, total = traffic.max_queue, None
    if queue is None:
        total = traffic.max_concurrency
        queue = _MAX_QUEUE if total is None else None
    return Capacity(
        units=_units(service, processes),
        calls=share(min(at_once), processes) if at_once else None,
        queue=None if queue is None else share(queue, processes),
        total=None if total is None else share(total, processes),
    )


def size_of(service: ServiceSpec, api: ApiSpec, rows: int) -> int:
    """The units of one call.

    Args:
        rows: of a call of an API that batches.
    """
    batch = service.max_batch_size or 1
    return batch if api.batch is None else math.ceil(rows * batch / api.batch.max_batch_size)


def _units(service: ServiceSpec, processes: int) -> int | None:
    if service.placement is Placement.COMMAND or any(api.is_async or api.stream for api in service.apis):
        return None  # these take any number of calls at once
    batch = service.max_batch_size or 1
    if service.placement is Placement.FRONTEND:  # every process has an instance of its own
        return BATCHES * service.threads * batch
    return share(BATCHES * service.workers * service.threads * batch, processes)
