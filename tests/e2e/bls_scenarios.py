"""What the calling models of `test_bls_backend.py` do, inside of Triton. Each gets the worker's backend."""

import asyncio
import gc
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.engine.backend import InferRequest
from orchestrator.errors import CallError, RequestFailed

X = np.arange(3)


def asked(
    model: str, *, timeout_s: float | None = None, runs_on: Any = None, outputs: Any = (), **parameters: Any
) -> InferRequest:
    return InferRequest(model, {"x": X}, parameters, timeout_s=timeout_s, outputs=outputs, runs_on=runs_on)


def error_of(error: CallError) -> list[Any]:
    more = [error.status, error.name] if isinstance(error, RequestFailed) else []
    return [type(error).__name__, error.message, *more]


def memory_kb() -> int:
    gc.collect()
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem"))


async def echo(backend: Any) -> Any:
    request = asked("plain", outputs=("y", "text"), text="käse", number=-(2**62), flag=True)
    response = await backend.infer(request)
    one = await backend.infer(asked("plain", outputs=("y",)))
    return [response.outputs["y"].tolist(), response.outputs["text"][0].decode(), list(one.outputs)]


async def failing(backend: Any, model: str = "plain", streams: bool = False, **parameters: Any) -> Any:
    try:
        if streams:
            await anext(backend.stream(asked(model, **parameters)))
        else:
            await backend.infer(asked(model, **parameters))
    except CallError as error:
        return error_of(error)


async def failing_after(backend: Any, **parameters: Any) -> Any:
    indexes = []
    try:
        async for response in backend.stream(asked("stream", **parameters)):
            indexes.append(int(response.outputs["y"][0]))
    except CallError as error:
        return [indexes, error_of(error)]
    return [indexes, None]


async def pace(backend: Any, calls: int) -> Any:
    """Seconds a call, one after the other: of one answer, and of one answer on a stream."""
    seconds = []
    for one in (
        lambda: backend.infer(asked("plain", timeout_s=10)),
        lambda: one_answer(backend, timeout_s=10),
    ):
        await one()
        began = time.perf_counter()
        for _ in range(calls):
            await one()
        seconds.append((time.perf_counter() - began) / calls)
    return seconds


async def refused(backend: Any) -> Any:
    return backend.refused


async def readiness(backend: Any) -> Any:
    return [await backend.ready("plain"), await backend.ready("stream"), await backend.ready("none")]


async def late(backend: Any, mark: str) -> Any:
    """How long a call with little time takes, and what ends when."""
    running: list[Any] = []
    began = time.monotonic()
    try:
        await backend.infer(asked("plain", timeout_s=0.2, runs_on=running.append, sleep_ms=3000, mark=mark))
    except CallError as error:
        released_s = time.monotonic() - began
        if running:
            await asyncio.wait(running)
        return [error_of(error), released_s, len(running)]


async def cancelled(backend: Any, mark: str) -> Any:
    task = asyncio.create_task(backend.infer(asked("plain", sleep_ms=3000, mark=mark)))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.wait((task,))
    return task.cancelled()


async def whole(backend: Any, streams: int, rounds: int = 1, **parameters: Any) -> Any:
    """Reads streams to their ends, and what went wrong with them."""
    began = time.monotonic()
    wrong: list[Any] = []

    async def one() -> None:
        expected = 0
        async for response in backend.stream(asked("stream", **parameters)):
            index, total = response.outputs["y"].tolist()
            data = response.outputs["data"][0]
            if (index, total, len(data)) != (expected, 3, parameters.get("bytes", 1)):
                wrong.append([expected, index, total, len(data)])
            expected += 1
        if expected != parameters["count"]:
            wrong.append(expected)

    for _ in range(rounds):
        if streams == 1:
            await one()
        else:
            await asyncio.gather(*(one() for _ in range(streams)))
    return [wrong[:5], time.monotonic() - began]


async def long(backend: Any, count: int) -> Any:
    """Memory in kB after a tenth of a long stream, and after all of it; and the seconds that it took."""
    began = time.monotonic()
    seen, before = 0, 0
    async for response in backend.stream(asked("stream", count=count, bytes=50)):
        assert response.outputs["y"][0] == seen
        seen += 1
        if seen == count // 10:
            before = memory_kb()
    return [seen, before, memory_kb(), time.monotonic() - began]


async def slowly(backend: Any, mark: str) -> Any:
    async with aclosing(backend.stream(asked("stream", count=1_000_000, bytes=1000, mark=mark))) as responses:
        for _ in range(5):
            await anext(responses)
        time.sleep(0.5)  # noqa: ASYNC251  # nobody reads meanwhile
    return None


async def abandoned(backend: Any, streams: int, marks: str) -> Any:
    """Leaves streams after three chunks each; how many of their ends were told."""
    running: list[Any] = []

    async def one(number: int) -> None:
        mark = f"{marks}/{number}"
        request = asked("stream", runs_on=running.append, count=1_000_000, sleep_us=1000, mark=mark)
        async with aclosing(backend.stream(request)) as responses:
            for _ in range(3):
                await anext(responses)

    if streams == 1:
        await one(0)
    else:
        await asyncio.gather(*(one(number) for number in range(streams)))
    if running:
        await asyncio.wait(running, timeout=20)
    return [len(running), sum(each.done() for each in running)]


async def out_of_time(backend: Any, mark: str, **parameters: Any) -> Any:
    began = time.monotonic()
    try:
        async for _ in backend.stream(asked("stream", timeout_s=0.3, count=1_000_000, mark=mark, **parameters)):
            pass
    except CallError as error:
        return [error_of(error), time.monotonic() - began]


async def many_until(backend: Any, streams: int, mark: str) -> Any:
    """Streams that only a death ends; writes a file once all of them run."""
    running = set()

    async def one(number: int) -> Any:
        try:
            async for _ in backend.stream(asked("stream", count=1_000_000, sleep_us=1000)):
                running.add(number)
                if len(running) == streams:
                    Path(mark).touch()  # noqa: ASYNC240
        except CallError as error:
            return error_of(error)

    if streams == 1:
        return [await one(0)]
    return await asyncio.gather(*(one(number) for number in range(streams)))


async def one_answer(backend: Any, **parameters: Any) -> Any:
    """A service with one answer, from a model that answers on a stream."""
    return [response.outputs["y"].tolist() async for response in backend.stream(asked("stream", count=1, **parameters))]
