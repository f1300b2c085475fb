"""What the end-to-end tests serve: one batchable API that counts, typed APIs beside it, and code that fails."""

import asyncio
from typing import Annotated

import numpy as np
from pydantic import BaseModel

import orchestrator
from orchestrator.validators import DType, Shape


@orchestrator.service
class Rows:
    """One batchable API."""

    @orchestrator.api(batchable=True, max_batch_size=64)
    def double(
        self, rows: Annotated[np.ndarray, DType("float32"), Shape((-1, 3))]
    ) -> Annotated[np.ndarray, DType("float32"), Shape((-1, 3))]:
        if np.any(rows < -1e6):
            raise ValueError("a row that breaks its batch")
        return rows * 2


class Point(BaseModel):
    x: int
    y: int = 0


@orchestrator.service
class Several:
    """Typed APIs that share one worker."""

    def __init__(self) -> None:
        self.calls = 0

    @orchestrator.api
    def shout(self, text: str, times: int = 1) -> str:
        self.calls += 1
        return text.upper() * times

    @orchestrator.api
    def move(self, point: Point, by: float = 1.5) -> dict[str, float]:
        self.calls += 1
        return {"x": point.x + by, "y": point.y + by}

    @orchestrator.api
    def count(self) -> int:
        return self.calls

    @orchestrator.api
    def fail(self, text: str) -> str:
        raise RuntimeError(f"the secret is {text}")

    @orchestrator.api
    def total(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum())


@orchestrator.service
class Steps:
    """Many calls at once, each with one answer."""

    def __init__(self) -> None:
        self.here = 0
        self.all_here = asyncio.Event()

    @orchestrator.api
    async def meet(self, count: int) -> int:
        """Answers once so many callers are here."""
        self.here += 1
        if self.here >= count:
            self.all_here.set()
        await self.all_here.wait()
        return self.here

    @orchestrator.api
    async def refuse(self, text: str) -> str:
        raise orchestrator.errors.InvalidInput(f"not {text}")

    @orchestrator.api(batchable=True, max_batch_size=8)
    async def double(self, rows: Annotated[np.ndarray, DType("float32"), Shape((-1, 3))]) -> np.ndarray:
        return rows * 2
