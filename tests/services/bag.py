"""One API of every kind of input, for bodies that do not fit."""

from pathlib import Path
from typing import Annotated

import numpy as np
from PIL.Image import Image
from pydantic import BaseModel, Field

import orchestrator
from orchestrator.validators import ContentType, DType, Shape


class Order(BaseModel):
    item: str = Field(min_length=1, max_length=20)
    count: int = Field(ge=1, le=100)
    tags: list[str] = []


@orchestrator.service
class Bag:
    """Every method would be glad of a good body."""

    @orchestrator.api
    def number(self, value: int) -> int:
        return value

    @orchestrator.api
    def order(self, order: Order) -> int:
        return order.count

    @orchestrator.api
    def matrix(self, values: Annotated[np.ndarray, DType("uint8"), Shape((-1, 3))]) -> int:
        return int(values.sum())

    @orchestrator.api(batchable=True)
    def rows(self, rows: Annotated[np.ndarray, DType("float32"), Shape((-1, 4))]) -> np.ndarray:
        return rows.sum(axis=1)

    @orchestrator.api
    def picture(self, image: Image) -> list[int]:
        return list(image.size)

    @orchestrator.api
    def sound(self, file: Annotated[Path, ContentType("audio/*")], level: float = 1.0) -> int:
        return file.stat().st_size

    @orchestrator.api
    def words(self, words: list[str], /) -> int:
        return len(words)
