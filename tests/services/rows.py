"""One batchable API."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

import orchestrator
from orchestrator.validators import Shape


@orchestrator.service(name="Rows", workers=2, resources={"gpu": 1, "memory": "1Gi"}, traffic={"timeout": 5})
class Rows:
    """Adds up rows."""

    @orchestrator.api(batchable=True, max_batch_size=8, max_latency_ms=500)
    def total(
        self, rows: Annotated[NDArray[np.float32], Shape((-1, 4))]
    ) -> Annotated[NDArray[np.float32], Shape((-1,))]:
        total: NDArray[np.float32] = rows.sum(axis=1)
        return total
