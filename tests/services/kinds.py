"""One API of every kind; each gives back what it was given."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

import orchestrator
from orchestrator.validators import DType, Shape


class Point(BaseModel):
    """A place on a page."""

    x: int
    label: str = Field(default="here", max_length=8)


@orchestrator.service
class Kinds:
    """Every kind of value."""

    @orchestrator.api
    def text(self, value: str) -> str:
        """The same text."""
        return value

    @orchestrator.api
    def integer(self, value: int) -> int:
        return value

    @orchestrator.api
    def number(self, value: float) -> float:
        return value

    @orchestrator.api
    def boolean(self, value: bool) -> bool:
        return value

    @orchestrator.api
    def mapping(self, value: dict[str, int]) -> dict[str, int]:
        return value

    @orchestrator.api
    def model(self, value: Point) -> Point:
        return value

    @orchestrator.api
    def optional(self, value: int | None = None) -> int | None:
        return value

    @orchestrator.api
    def anything(self, value: Any) -> Any:
        return value

    @orchestrator.api
    def nothing(self) -> None:
        return None

    @orchestrator.api
    def open_array(self, value: np.ndarray) -> np.ndarray:
        return value

    @orchestrator.api
    def array(
        self, value: Annotated[NDArray[np.float32], Shape((-1, 3))]
    ) -> Annotated[NDArray[np.float32], Shape((-1, 3))]:
        return value

    @orchestrator.api
    def words(self, value: Annotated[np.ndarray, DType("str"), Shape((-1,))]) -> Annotated[np.ndarray, DType("str")]:
        return value

    @orchestrator.api(route="/limits/both")
    def limits(self, small: Annotated[int, Field(ge=1, le=10)] = 3, name: str = Field("x", min_length=1)) -> str:
        return f"{small}{name}"
