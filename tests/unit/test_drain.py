"""The end of a front-end, and callers who leave: on ASGI, without a server."""

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from orchestrator.errors import CallCancelled
from orchestrator.server.attendance import Attendance
from orchestrator.server.drain import Drain, Draining
from tests.virtual_time import run_virtually


class Application:
    """Answers when it may."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.drain = Drain()
        self.asgi = Draining(self.answer, drain=self.drain, refusal=lambda _: Response("stops", 503))

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            await self.go_on.wait()
        if scope["path"] == "/fail":
            raise RuntimeError
        await PlainTextResponse("done")(scope, receive, send)

    async def status(self, path: str, kind: str = "http") -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": kind, "method": "GET", "path": path, "headers": []}
        await self.asgi(scope, lambda: asyncio.sleep(3600), send)  # type: ignore[arg-type,return-value]
        return int(sent[0]["status"])


def test_what_is_in_flight_ends_and_what_is_new_is_refused() -> None:
    async def main() -> None:
        app = Application()
        waiting = [asyncio.create_task(app.status("/wait")) for _ in range(3)]
        await asyncio.sleep(1)
        assert app.drain.in_flight == 3
        finishing = asyncio.create_task(app.drain.finish(60))
        await asyncio.sleep(0)
        assert [await app.status(path) for path in ("/new", "/readyz", "/livez", "/metrics")] == [503, 503, 200, 200]
        await asyncio.sleep(30)
        assert not finishing.done()
        app.go_on.set()
        assert [await each for each in waiting] == [200, 200, 200]
        assert await finishing
        assert app.drain.in_flight == 0
        assert asyncio.get_running_loop().time() == pytest.approx(31, abs=1)

    run_virtually(main())


def test_an_idle_one_lingers_for_a_moment() -> None:
    async def main() -> None:
        app = Application()
        assert await app.drain.finish(60)
        assert 0 < asyncio.get_running_loop().time() < 1

    run_virtually(main())


def test_a_request_that_fails_is_not_in_flight_any_more() -> None:
    async def main() -> None:
        app = Application()
        with pytest.raises(RuntimeError):
            await app.status("/fail")
        assert app.drain.in_flight == 0

    run_virtually(main())


@pytest.mark.parametrize("within_s", [0.0, 5.0])
def test_at_the_deadline_the_rest_is_broken_off(within_s: float) -> None:
    async def main() -> None:
        app = Application()
        broken: list[float] = []

        async def break_off() -> None:
            broken.append(asyncio.get_running_loop().time())

        app.drain.at_the_deadline(break_off)
        waiting = asyncio.create_task(app.status("/wait"))
        await asyncio.sleep(1)
        assert not await app.drain.finish(within_s)
        assert broken == [pytest.approx(1 + within_s)]
        app.go_on.set()
        await waiting

    run_virtually(main())


# --- callers who leave ---


async def attended(leaves_after_s: float | None, work_s: float) -> str:
    async def receive() -> Any:
        await asyncio.sleep(1e9 if leaves_after_s is None else leaves_after_s)
        return {"type": "http.disconnect"}

    try:
        with Attendance(receive):
            await asyncio.sleep(work_s)
    except CallCancelled:
        return f"cancelled at {asyncio.get_running_loop().time():.2f}"
    await asyncio.sleep(10)  # nothing comes later
    return "done"


@pytest.mark.parametrize(
    ("leaves_after_s", "work_s", "outcome"),
    [
        (None, 5, "done"),
        (6, 5, "done"),
        (0, 0.01, "done"),  # too short to look
        (0, 5, "cancelled at 0.05"),
        (3, 5, "cancelled at 3.05"),
    ],
)
def test_work_ends_with_its_caller(leaves_after_s: float | None, work_s: float, outcome: str) -> None:
    assert run_virtually(attended(leaves_after_s, work_s)) == outcome


def test_a_task_that_is_cancelled_otherwise_stays_cancelled() -> None:
    async def main() -> None:
        task = asyncio.create_task(attended(None, 5))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(main())


def test_errors_pass() -> None:
    async def main() -> None:
        with Attendance(None):
            raise KeyError

    with pytest.raises(KeyError):
        run_virtually(main())
