"""What a call of a declared model costs, from a worker and from the front-end: `python -m benchmarks.calling`. See README.md."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from benchmarks.processes import ServerFailed, ServerProcess
from orchestrator.engine import InferRequest, Invoker
from orchestrator.sdk import load_service
from orchestrator.triton import TritonBackend

__all__ = ["main", "time_of_calls", "times_table"]

_MODULE = """\
from typing import Annotated
import numpy as np
import orchestrator
from orchestrator import validators
from orchestrator.models import Onnx

Rows = Annotated[np.ndarray, validators.DType("float32"), validators.Shape((-1, 64))]


class Sync:
    leaf = Onnx("leaf.onnx", queue_delay_us=0, threads=1)

    @orchestrator.api
    def none(self, x: Rows) -> Rows:
        return x

    @orchestrator.api
    def one(self, x: Rows) -> Rows:
        return self.leaf(x)

    @orchestrator.api
    def four(self, x: Rows) -> Rows:
        return self.leaf(self.leaf(self.leaf(self.leaf(x))))


@orchestrator.service
class Worker(Sync):
    pass


@orchestrator.service(threads=8)
class Threads(Sync):
    pass


@orchestrator.service
class Frontend:
    leaf = Onnx("leaf.onnx", queue_delay_us=0, threads=1)

    @orchestrator.api
    async def none(self, x: Rows) -> Rows:
        return x

    @orchestrator.api
    async def one(self, x: Rows) -> Rows:
        return await self.leaf.to_async(x)

    @orchestrator.api
    async def four(self, x: Rows) -> Rows:
        for _ in range(4):
            x = await self.leaf.to_async(x)
        return x
"""

_WIDTH = 64
_START_S = 120.0
Call = Callable[[], Awaitable[None]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where a server did not come up."""
    parser = argparse.ArgumentParser(prog="benchmarks.calling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=160, help="in each cell of a round")
    parser.add_argument("--rows", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "calls.py").write_text(_MODULE)
        _write_model(folder / "leaf.onnx")
        try:
            servers = {name: _serve(stack, name, folder) for name in ("Worker", "Threads", "Frontend")}
        except ServerFailed as error:
            Console(stderr=True).print(f"error: {error}", markup=False)
            return 1
        asyncio.run(_measure(folder, servers, options))
    return 0


def _write_model(path: Path) -> None:
    """`y = x @ w`: as cheap as a model can be, so that what is measured is the way to it."""
    weights = numpy_helper.from_array(np.eye(_WIDTH, dtype=np.float32), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", _WIDTH)) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "leaf", values[:1], values[1:], [weights]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _serve(stack: ExitStack, name: str, folder: Path) -> tuple[str, str]:
    """Addresses of the front-end and of Triton's gRPC."""
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "serve",
        f"calls:{name}",
        "--port",
        "0",
        "--working-dir",
        str(folder),
    ]
    server = ServerProcess(command, folder)
    stack.callback(server.stop)
    url = server.wait_for(r"^ready (\S+)", _START_S)[1]
    return url, server.wait_for(r"gRPC (\S+),", _START_S)[1]


async def _measure(folder: Path, servers: dict[str, tuple[str, str]], options: argparse.Namespace) -> None:
    x = np.ones((options.rows, _WIDTH), dtype=np.float32)
    triton = TritonBackend(servers["Worker"][1])
    invoker = Invoker(load_service("calls:Worker", folder).spec.called(), triton)
    http = httpx2.AsyncClient(timeout=60)
    body = {"x": x.tolist()}

    async def direct() -> None:
        await triton.infer(InferRequest("Worker.leaf", {"x": x}))

    def by_grpc(api: str) -> Call:
        async def call() -> None:
            await invoker.call(api, {"x": x})

        return call

    def over_http(service: str, api: str) -> Call:
        async def call() -> None:
            (await http.post(f"{servers[service][0]}/{api}", json=body)).raise_for_status()

        return call

    counts = ("none", "one", "four")
    titles = {"Worker": "worker", "Threads": "worker of 8 threads", "Frontend": "front-end"}
    cells: dict[str, Call] = {"the model, by gRPC": direct}
    cells |= {f"worker, by gRPC, {api}": by_grpc(api) for api in counts}
    cells |= {f"{title}, by HTTP, {api}": over_http(name, api) for name, title in titles.items() for api in counts}
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for in_flight in (1, 8):
        times: dict[str, list[float]] = {name: [] for name in cells}
        for number in range(options.rounds + 1):
            names = list(cells)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                took = await time_of_calls(cells[name], options.calls, in_flight)
                if number:  # the first round finds everything cold
                    times[name].append(took)
        console.print(times_table(times, in_flight))
    await http.aclose()
    await triton.close()


async def time_of_calls(call: Call, calls: int, in_flight: int) -> float:
    """Seconds a call: of one after the other, or of the whole divided by their number."""

    async def several() -> None:
        for _ in range(calls // in_flight):
            await call()

    started = time.perf_counter()
    await asyncio.gather(*(several() for _ in range(in_flight)))
    return (time.perf_counter() - started) / (calls // in_flight * in_flight)


def times_table(times: dict[str, list[float]], in_flight: int) -> Table:
    base = next(iter(times))
    table = Table(title=f"{in_flight} in flight", title_justify="left")
    for column in ("", "us a call", f"x {base}", "lowest", "highest"):
        table.add_column(column, justify="right" if column else "left")
    for name, values in times.items():
        ratios = [value / reference for value, reference in zip(values, times[base], strict=True)]
        cells = (median(ratios), min(ratios), max(ratios))
        table.add_row(name, f"{median(values) * 1e6:.0f}", *(f"{ratio:.2f}" for ratio in cells))
    return table


if __name__ == "__main__":
    sys.exit(main())
