# mypy: disable-error-code="untyped-decorator,misc"
"""A service for BentoML itself, as released: `bentoml serve bentoml_far:Far`, with the Python that has it."""

import importlib
import typing as t
from http import HTTPStatus
from pathlib import Path

import numpy as np

bentoml: t.Any = importlib.import_module("bentoml")


class Teapot(bentoml.exceptions.BentoMLException):
    error_code = HTTPStatus.IM_A_TEAPOT


@bentoml.service
class Far:
    @bentoml.api
    def add(self, a: int, b: int = 1) -> int:
        return a + b

    @bentoml.api
    def double(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    @bentoml.api
    def greet(self, name: str) -> str:
        return f"Hello, {name}"

    @bentoml.api
    def facts(self, name: str, ctx: bentoml.Context) -> dict[str, t.Any]:
        return {"name": name, "id": ctx.request.headers.get("x-request-id")}

    @bentoml.api
    def size(self, file: Path) -> int:
        return len(file.read_bytes())

    @bentoml.api
    def copy(self, file: Path) -> Path:
        return file

    @bentoml.api
    async def words(self, text: str) -> t.AsyncGenerator[str, None]:
        for word in text.split(" "):
            yield word

    @bentoml.api
    def fail(self, how: str) -> str:
        if how == "teapot":
            raise Teapot("short and stout")
        if how == "unavailable":
            raise bentoml.exceptions.ServiceUnavailable("not now")
        raise ValueError("a secret")
