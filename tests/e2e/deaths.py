"""Processes of a running server by what they are, killing them, and callers who note what they see."""

import asyncio
import contextlib
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil

from tests import onnx_models
from tests.e2e.serving import SERVICES, Serving, command_of, name_of

__all__ = ["Callers", "place_healing", "ready_after_s", "triton_of", "worker_names", "workers_of"]

STUB = "triton_python_backend_stub"


def place_healing(folder: Path) -> Path:
    """Writes `tests/services/healing.py` and its models; the folder is its working directory."""
    shutil.copy(SERVICES / "healing.py", folder)
    onnx_models.linear(folder / "left.onnx")
    onnx_models.linear(folder / "right.onnx")
    return folder


def workers_of(server: Serving, model: str | None = None) -> list[psutil.Process]:
    """Living workers; those that start and those that are about to be ended count."""
    found = []
    for process in server.family():
        line = command_of(process)
        if line and line[0].endswith(STUB):
            repository, name = Path(line[1]).parts[-4:-2]
            if repository == "repository" and model in (None, name):  # the other one proves the server
                found.append(process)
    return found


def worker_names(server: Serving) -> list[str]:
    """Names of the instances that the workers are."""
    lines = [command_of(process) for process in workers_of(server)]
    return sorted(line[8] for line in lines if line)


def triton_of(server: Serving) -> psutil.Process:
    return next(process for process in server.family() if name_of(process) == "tritonserver")


async def ready_after_s(url: str, *, within_s: float) -> float:
    """Waits until `/readyz` says that all is well, and returns how long that took.

    Raises:
        AssertionError: it does not say so in time.
    """
    started = time.monotonic()
    said = ""
    async with httpx2.AsyncClient(base_url=url) as http:
        while time.monotonic() - started < within_s:
            answer = await http.get("/readyz")
            said = f"{answer.status_code} {answer.text}"
            if said == "200 \n":
                return time.monotonic() - started
            await asyncio.sleep(0.02)
    raise AssertionError(f"not ready after {within_s} s: {said}")


@dataclass
class Callers:
    """Some callers, each of which calls again as soon as it is answered.

    Attributes:
        answers: status -> how many.
        wrong: whatever is neither a right answer nor a 503 with `Retry-After`.
        refusals: details of the 503s.
        longest_s: of a call.
    """

    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0

    @contextlib.asynccontextmanager
    async def calling(
        self, url: str, count: int, path: str, make: Callable[[], tuple[Any, Any]]
    ) -> AsyncIterator[None]:
        """Inside, they call.

        Args:
            make: makes a call: its arguments, and the right answer.
        """
        stop = False

        async def caller(http: httpx2.AsyncClient) -> None:
            while not stop:
                await self._call(http, path, *make())

        limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx2.AsyncClient(base_url=url, limits=limits, timeout=60) as http:
            tasks = [asyncio.create_task(caller(http)) for _ in range(count)]
            try:
                yield
            finally:
                stop = True
                await asyncio.gather(*tasks)

    async def _call(self, http: httpx2.AsyncClient, path: str, arguments: Any, right: Any) -> None:
        started = time.monotonic()
        try:
            answer = await http.post(path, json=arguments)
        except httpx2.HTTPError as error:
            self.wrong.append(f"{type(error).__name__}: {error}")
            return
        self.longest_s = max(self.longest_s, time.monotonic() - started)
        self.answers[answer.status_code] += 1
        if answer.status_code == 503 and "retry-after" in answer.headers:
            self.refusals[answer.json()["detail"]] += 1
        elif answer.status_code != 200 or answer.json() != right:
            self.wrong.append(f"{answer.status_code} {answer.text} where {right} was due")
