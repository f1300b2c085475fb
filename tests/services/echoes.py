"""One method for every type that crosses: each gives back what it got, so that both ways are tested."""

import datetime as dt
from collections.abc import AsyncGenerator, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL.Image import Image
from pydantic import BaseModel

import orchestrator
from orchestrator.validators import ContentType, DataframeSchema, DType, Shape


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Item(BaseModel):
    name: str
    color: Color = Color.RED
    day: dt.date | None = None


class Echoes:
    """What the two services below have in common."""

    @orchestrator.api
    def text(self, value: str) -> str:
        return value

    @orchestrator.api
    def integer(self, value: int) -> int:
        return value

    @orchestrator.api
    def number(self, value: float) -> float:
        return value

    @orchestrator.api
    async def boolean(self, value: bool) -> bool:
        return value

    @orchestrator.api
    def nothing(self, value: None = None) -> None:
        return value

    @orchestrator.api
    def anything(self, value: Any) -> Any:
        return value

    @orchestrator.api
    def listing(self, value: list[int]) -> list[int]:
        return value

    @orchestrator.api
    def mapping(self, value: dict[str, float]) -> dict[str, float]:
        return value

    @orchestrator.api
    def optional(self, value: str | None = "default") -> str | None:
        return value

    @orchestrator.api
    def union(self, value: int | str) -> int | str:
        return value

    @orchestrator.api
    async def model(self, value: Item) -> Item:
        return value

    @orchestrator.api
    def models(self, value: list[Item]) -> list[Item]:
        return value

    @orchestrator.api
    def array(self, value: np.ndarray) -> np.ndarray:
        return value

    @orchestrator.api
    def typed_array(self, value: NDArray[np.float32]) -> Annotated[np.ndarray, DType("float32")]:
        return value

    @orchestrator.api(batchable=True)
    def rows(self, value: Annotated[np.ndarray, DType("int32"), Shape((-1, 2))]) -> np.ndarray:
        return value

    @orchestrator.api(batchable=True)
    def texts(self, value: list[str]) -> list[str]:
        return value

    @orchestrator.api
    def optional_array(self, value: np.ndarray | None = None) -> np.ndarray | None:
        return value

    @orchestrator.api
    def raw(self, value: bytes) -> bytes:
        return value

    @orchestrator.api
    def image(self, value: Image) -> Image:
        return value

    @orchestrator.api
    async def file(self, value: Path) -> Annotated[Path, ContentType("text/plain")]:
        return value

    @orchestrator.api
    def files(self, value: list[Path]) -> list[str]:
        return [path.read_text() for path in value]

    @orchestrator.api
    def table(self, value: pd.DataFrame) -> pd.DataFrame:
        return value

    @orchestrator.api
    def columns(
        self, value: Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=["a", "b"])]
    ) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]:
        return value

    @orchestrator.api
    def stream(self, value: list[str]) -> Iterator[str]:
        yield from value

    @orchestrator.api
    async def objects(self, value: list[int]) -> AsyncGenerator[dict[str, int], None]:
        for item in value:
            yield {"item": item}

    @orchestrator.api
    def root(self, value: Item, /) -> Item:
        return value

    @orchestrator.api
    def root_text(self, value: str, /) -> str:
        return value

    @orchestrator.api
    def spread(self, first: int, *more: int, **named: str) -> dict[str, Any]:
        return {"first": first, "more": more, "named": named}


@orchestrator.service
class InTriton(Echoes):
    """Runs in a worker of Triton's."""


@orchestrator.service
@orchestrator.asgi_app(FastAPI(), path="/extra")
class InFrontend(Echoes):
    """Runs on the front-end's event loop, because it mounts an application."""
