"""What a composite of three services costs beside the same three models called by hand: `python -m benchmarks.composition`.

By hand means `tritonclient`, as its users write it. See README.md.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
import numpy as np
import tritonclient.grpc as triton_sync
import tritonclient.grpc.aio as triton_async
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.calling import time_of_calls, times_table
from benchmarks.processes import ServerFailed, ServerProcess

__all__ = ["compose", "main"]

_MODULE = """\
import asyncio
from typing import Annotated
import numpy as np
import orchestrator
from orchestrator import validators

Rows = Annotated[np.ndarray, validators.DType("float32"), validators.Shape((-1, 64))]


class Leaf:
    @orchestrator.api
    def run(self, x: Rows) -> Rows:
        return x + 1


@orchestrator.service
class A(Leaf): pass

@orchestrator.service
class B(Leaf): pass

@orchestrator.service
class C(Leaf): pass


class Composite:
    a = orchestrator.depends(A)
    b = orchestrator.depends(B)
    c = orchestrator.depends(C)


class Async(Composite):
    @orchestrator.api
    async def chain(self, x: Rows) -> Rows:
        return await self.c.to_async.run(await self.b.to_async.run(await self.a.to_async.run(x)))

    @orchestrator.api
    async def fan(self, x: Rows) -> Rows:
        return np.concatenate(await asyncio.gather(
            self.a.to_async.run(x), self.b.to_async.run(x), self.c.to_async.run(x)
        ))


@orchestrator.service
class Frontend(Async): pass


@orchestrator.service(placement="triton")
class Worker(Async): pass


@orchestrator.service
class Sync(Composite):
    @orchestrator.api
    def chain(self, x: Rows) -> Rows:
        return self.c.run(self.b.run(self.a.run(x)))
"""

_WIDTH = 64
_START_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where a server did not come up."""
    parser = argparse.ArgumentParser(prog="benchmarks.composition", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=96, help="in each cell of a round")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    try:
        for in_flight, times in compose(options.rounds, options.calls, options.in_flight).items():
            for base in ("chain", "fan"):
                own = {name: values for name, values in times.items() if name.startswith(base)}
                console.print(times_table(own, in_flight))
    except ServerFailed as error:
        Console(stderr=True).print(f"error: {error}", markup=False)
        return 1
    return 0


def compose(rounds: int, calls: int, in_flight: Sequence[int]) -> dict[int, dict[str, list[float]]]:
    """Calls in flight -> what was called -> seconds a call in each round. The first of each kind is by hand.

    Raises:
        ServerFailed: a server did not come up.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "composed.py").write_text(_MODULE)
        servers = {name: _serve(stack, name, folder) for name in ("Frontend", "Worker", "Sync")}
        return asyncio.run(_measure(servers, rounds, calls, in_flight))


def ratios(times: dict[str, list[float]], name: str, base: str) -> float:
    """The median over the rounds of what one costs in terms of another."""
    return median(value / reference for value, reference in zip(times[name], times[base], strict=True))


def _serve(stack: ExitStack, name: str, folder: Path) -> tuple[str, str]:
    """Addresses of the front-end and of Triton's gRPC."""
    command = [sys.executable, "-m", "orchestrator", "serve", f"composed:{name}", "--port", "0"]
    server = ServerProcess([*command, "--working-dir", str(folder)], folder)
    stack.callback(server.stop)
    url = server.wait_for(r"^ready (\S+)", _START_S)[1]
    return url, server.wait_for(r"gRPC (\S+),", _START_S)[1]


async def _measure(
    servers: dict[str, tuple[str, str]], rounds: int, calls: int, in_flight: Sequence[int]
) -> dict[int, dict[str, list[float]]]:
    x = np.ones((1, _WIDTH), dtype=np.float32)
    grpc = servers["Frontend"][1]
    http = httpx2.AsyncClient(timeout=60)
    by_hand = triton_async.InferenceServerClient(grpc)
    blocking = triton_sync.InferenceServerClient(grpc)

    def infer_input(module: Any, value: NDArray[Any]) -> Any:
        tensor = module.InferInput("x", value.shape, "FP32")
        tensor.set_data_from_numpy(value)
        return tensor

    async def one(name: str, value: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = (await by_hand.infer(name, [infer_input(triton_async, value)])).as_numpy("result")
        return result

    async def chain_by_hand() -> None:
        value = x
        for name in "ABC":
            value = await one(name, value)
        assert value[0, 0] == 4

    async def chain_blocking() -> None:
        value = x
        for name in "ABC":
            value = blocking.infer(name, [infer_input(triton_sync, value)]).as_numpy("result")
        assert value[0, 0] == 4

    async def fan_by_hand() -> None:
        parts = await asyncio.gather(*(one(name, x) for name in "ABC"))
        assert np.concatenate(parts)[2, 0] == 2

    body = {"x": x.tolist()}

    def composite(server: str, api: str, last: float) -> Any:
        async def call() -> None:
            response = await http.post(f"{servers[server][0]}/{api}", json=body)
            assert response.json()[-1][0] == last, response.text

        return call

    cells = {
        "chain by hand (tritonclient, grpc.aio)": chain_by_hand,
        "chain by hand (tritonclient, blocking)": chain_blocking,
        "chain, composite on the front-end": composite("Frontend", "chain", 4),
        "chain, async composite by BLS": composite("Worker", "chain", 4),
        "chain, sync composite by BLS": composite("Sync", "chain", 4),
        "fan by hand (tritonclient, grpc.aio)": fan_by_hand,
        "fan, composite on the front-end": composite("Frontend", "fan", 2),
        "fan, async composite by BLS": composite("Worker", "fan", 2),
    }
    found = {}
    for flying in in_flight:
        times: dict[str, list[float]] = {name: [] for name in cells}
        for number in range(rounds + 1):
            names = list(cells)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                took = await time_of_calls(cells[name], calls, flying)
                if number:  # the first round finds everything cold
                    times[name].append(took)
        found[flying] = times
    await http.aclose()
    await by_hand.close()
    blocking.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
