"""User code that fails, in every way."""

import time
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

import orchestrator
from orchestrator import errors
from orchestrator.validators import DType


def broken(value: Any) -> Any:
    """A validator with a bug of its own."""
    return value.missing


@orchestrator.service(traffic={"timeout": 0.2})
class Faulty:
    @orchestrator.api
    def fail(self, secret: str) -> str:
        raise RuntimeError(f"the password is {secret}")

    @orchestrator.api
    def refuse(self) -> str:
        raise errors.Overloaded("come back later", retry_after_s=7)

    @orchestrator.api
    def blame(self, value: int) -> str:
        raise errors.InvalidInput.at(["value"], "I do not like it")

    @orchestrator.api
    def lie(self) -> int:
        return "not a number"  # type: ignore[return-value]

    @orchestrator.api
    def overflow(self) -> Annotated[np.ndarray, DType("int8")]:
        return np.array([1000])

    @orchestrator.api
    def validate(self, value: Annotated[int, BeforeValidator(broken)]) -> int:
        return value

    @orchestrator.api
    def sleep(self) -> str:
        time.sleep(0.5)
        return "late"
