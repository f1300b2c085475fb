"""What the front-end does with calls whose worker dies: which fail, which are sent again, which wait."""

import asyncio
import os
import struct
import time
import zlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest

from orchestrator.engine import InferRequest, InferResponse
from orchestrator.engine.health import Health, HealthFile, Loss, ModelHealth, State
from orchestrator.engine.heartbeat import beat_path
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, ServiceFault
from orchestrator.triton import supervised
from orchestrator.triton.faults import from_status
from orchestrator.triton.supervised import SupervisedBackend

SERVER = f"orchestrator-{os.getpid()}-supervised"
ANSWER = InferResponse({"y": np.ones(1)})
DIED = (grpc.StatusCode.INTERNAL, "Stub process 'm_0_0' is not healthy.")
GONE = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' has no available versions")
UNKNOWN = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' is not found")
REFUSED = (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: Connection refused")
RESET = (grpc.StatusCode.UNAVAILABLE, "Stream removed (recvmsg:Connection reset by peer (104))")
T = TypeVar("T")
Step = tuple[grpc.StatusCode, str] | InferResponse | str


class Scripted:
    """A backend whose calls go as they are told: an error, an answer, or `hang`.

    Attributes:
        sent: the requests.
        rests: what is done when a call has ended that was left.
    """

    def __init__(self, *steps: Step) -> None:
        self._steps = list(steps)
        self.sent: list[InferRequest] = []
        self.rests: list[asyncio.Future[Any]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def ready(self, model: str) -> bool:
        return True

    async def infer(self, request: InferRequest) -> InferResponse:
        self.sent.append(request)
        return await self._next(request)

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        self.sent.append(request)
        while (step := self._steps[0]) != "end":
            yield await self._next(request)
            assert step
        self._steps.pop(0)

    async def _next(self, request: InferRequest) -> InferResponse:
        step = self._steps.pop(0)
        if isinstance(step, InferResponse):
            return step
        if isinstance(step, tuple):
            error = from_status(*step)
            raise error from error.__cause__
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert request.runs_on is not None
            self.rests.append(asyncio.get_running_loop().create_future())
            request.runs_on(self.rests[-1])
            raise
        raise AssertionError("nobody let it go")


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(supervised, "_PATIENCE_S", 1.0)
    yield
    for path in Path("/dev/shm").glob(f"{SERVER}-*"):
        path.unlink()


def page(pid: int, *begun: str) -> None:
    marks = [zlib.crc32(each.encode()) for each in begun]
    content = struct.pack(f"<QQII{len(marks)}I", time.monotonic_ns(), 0, len(begun), 0, *marks)
    beat_path(SERVER, pid).write_bytes(content.ljust(4096, b"\0"))


def lost(*, last: bool, serial: int = 1, pid: int = 1) -> Health:
    loss = Loss(serial=serial, model="m", pid=pid, last=last, at_ns=time.monotonic_ns())
    return Health(server_id=SERVER, losses=(loss,))


def ask(
    folder: Path,
    backend: Scripted,
    meanwhile: Callable[[], Any] | None = None,
    *,
    request: InferRequest | None = None,
    file: bool = True,
) -> InferResponse | CallError:
    """Makes one call.

    Args:
        meanwhile: done a moment after it was sent.
    """
    request = request or InferRequest("m", {}, request_id="id", timeout_s=20)

    async def main() -> InferResponse | CallError:
        own = SupervisedBackend(backend, HealthFile(folder) if file else None)
        await own.open()
        if meanwhile is not None:
            asyncio.get_running_loop().call_later(0.1, meanwhile)
        try:
            return await asyncio.wait_for(own.infer(request), 15)
        except CallError as error:
            return error
        finally:
            await own.close()

    return asyncio.run(main())


def test_an_answer_and_an_error_of_the_service_come_through(tmp_path: Path) -> None:
    assert ask(tmp_path, Scripted(ANSWER)) is ANSWER
    fault = ask(tmp_path, Scripted((grpc.StatusCode.INTERNAL, "boom")))
    assert isinstance(fault, ServiceFault)


@pytest.mark.parametrize("last", [True, False])
def test_a_call_that_the_dead_worker_had_begun_fails_at_once(tmp_path: Path, last: bool) -> None:
    page(1, "id")
    backend = Scripted("hang", ANSWER)
    started = time.monotonic()
    error = ask(tmp_path, backend, lambda: lost(last=last).write(tmp_path))
    assert isinstance(error, BackendUnavailable)
    assert "has died during the call" in str(error)
    assert len(backend.sent) == 1
    assert time.monotonic() - started < 5


def test_a_call_that_nobody_had_begun_is_sent_again_where_nobody_is_left(tmp_path: Path) -> None:
    page(1, "another")
    backend = Scripted("hang", ANSWER)
    assert ask(tmp_path, backend, lambda: lost(last=True).write(tmp_path)) is ANSWER
    assert len(backend.sent) == 2
    first, second = (request.timeout_s or 0 for request in backend.sent)
    assert first > second > 0, "the time goes on"


def test_a_call_that_somebody_else_may_have_is_left_alone(tmp_path: Path) -> None:
    page(1, "another")
    backend = Scripted("hang")
    request = InferRequest("m", {}, request_id="id", timeout_s=20)

    async def main() -> None:
        own = SupervisedBackend(backend, HealthFile(tmp_path))
        await own.open()
        asyncio.get_running_loop().call_later(0.05, lost(last=False).write, tmp_path)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(own.infer(request), 1.0)
        finally:
            await own.close()

    asyncio.run(main())
    assert len(backend.sent) == 1


def test_a_loss_before_the_call_was_sent_does_not_concern_it(tmp_path: Path) -> None:
    page(1, "id")
    early = lost(last=True)
    backend = Scripted("hang")

    async def main() -> None:
        own = SupervisedBackend(backend, HealthFile(tmp_path))
        await own.open()
        asyncio.get_running_loop().call_later(0.05, early.write, tmp_path)
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(own.infer(InferRequest("m", {}, request_id="id")), 1.0)
        finally:
            await own.close()

    asyncio.run(main())


def test_what_triton_gave_to_a_dead_worker_is_sent_again(tmp_path: Path) -> None:
    page(1, "another")
    lost(last=False).write(tmp_path)
    backend = Scripted(DIED, DIED, ANSWER)
    assert ask(tmp_path, backend) is ANSWER
    assert len(backend.sent) == 3


def test_it_is_not_where_a_worker_may_have_begun_it(tmp_path: Path) -> None:
    lost(last=False).write(tmp_path)
    without_page = Scripted(DIED, ANSWER)
    assert isinstance(ask(tmp_path, without_page), BackendUnavailable)
    page(1, "id")
    begun = Scripted(DIED, ANSWER)
    assert isinstance(ask(tmp_path, begun), BackendUnavailable)
    assert (len(without_page.sent), len(begun.sent)) == (1, 1)


@pytest.mark.parametrize("status", [GONE, UNKNOWN, REFUSED])
def test_what_never_reached_a_worker_is_sent_again(tmp_path: Path, status: Step) -> None:
    backend = Scripted(status, status, ANSWER)
    assert ask(tmp_path, backend) is ANSWER


def test_a_connection_that_broke_may_have_carried_the_call(tmp_path: Path) -> None:
    backend = Scripted(RESET, ANSWER)
    assert isinstance(ask(tmp_path, backend), BackendUnavailable)
    assert len(backend.sent) == 1


@pytest.mark.parametrize("file", [True, False])
def test_a_model_that_we_know_is_unavailable_and_not_unknown(tmp_path: Path, file: bool) -> None:
    backend = Scripted(*[UNKNOWN] * 100)
    error = ask(tmp_path, backend, file=file)
    assert type(error) is BackendUnavailable
    assert len(backend.sent) == 1 or file


def test_a_call_of_a_model_that_is_being_replaced_waits(tmp_path: Path) -> None:
    down = ModelHealth(state=State.DOWN, reason="m: 1 of 1 workers died; being replaced")
    Health(models={"m": down}).write(tmp_path)
    backend = Scripted(ANSWER)
    assert ask(tmp_path, backend, lambda: Health().write(tmp_path)) is ANSWER
    Health(models={"m": down}).write(tmp_path)
    too_long = Scripted(ANSWER)
    error = ask(tmp_path, too_long)
    assert isinstance(error, BackendUnavailable)
    assert "being replaced" in str(error)
    assert not too_long.sent


def test_a_call_of_a_model_that_crashes_again_and_again_is_refused_at_once(tmp_path: Path) -> None:
    down = ModelHealth(state=State.DOWN, reason="m: crashes", soon=False, retry_s=8)
    Health(models={"m": down}).write(tmp_path)
    started = time.monotonic()
    error = ask(tmp_path, Scripted(ANSWER))
    assert isinstance(error, BackendUnavailable)
    assert error.retry_after_s == 8
    assert time.monotonic() - started < 0.9
    assert ask(tmp_path, Scripted(ANSWER), request=InferRequest("other", {})) is ANSWER


def test_the_calls_own_time_ends_all_waiting(tmp_path: Path) -> None:
    backend = Scripted(*[GONE] * 100)
    error = ask(tmp_path, backend, request=InferRequest("m", {}, timeout_s=0.3))
    assert isinstance(error, (BackendUnavailable, DeadlineExceeded))


def test_calls_without_an_id_get_one_of_their_own(tmp_path: Path) -> None:
    async def main() -> None:
        own, backend = None, Scripted(ANSWER, ANSWER)
        own = SupervisedBackend(backend, HealthFile(tmp_path))
        await asyncio.gather(*(own.infer(InferRequest("m", {})) for _ in range(2)))
        assert len({request.request_id for request in backend.sent} - {""}) == 2

    asyncio.run(main())


def test_a_lost_call_holds_no_place_and_a_cancelled_one_does(tmp_path: Path) -> None:
    held: list[asyncio.Future[Any]] = []
    page(1, "id")
    request = InferRequest("m", {}, request_id="id", runs_on=held.append)
    assert isinstance(
        ask(tmp_path, Scripted("hang"), lambda: lost(last=False).write(tmp_path), request=request), CallError
    )
    assert not held

    async def main() -> None:
        own = SupervisedBackend(Scripted("hang"), HealthFile(tmp_path))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(own.infer(request), 0.2)
        await own.close()

    asyncio.run(main())
    assert len(held) == 1


@pytest.mark.parametrize("late", [False, True])
def test_what_triton_would_wait_for_for_ever_is_given_up(tmp_path: Path, late: bool) -> None:
    page(1, "id")
    backend, request = Scripted("hang"), InferRequest("m", {}, request_id="id", late=late)
    assert isinstance(ask(tmp_path, backend, lambda: lost(last=False).write(tmp_path), request=request), CallError)
    assert [rest.cancelled() for rest in backend.rests] == [late]


class Remote(HealthFile):
    """Knows of pages only what losses say."""

    late_s = 0.3

    def was_begun(self, request_id: str) -> bool:
        return False


@pytest.mark.parametrize("dies_again", [False, True])
def test_a_death_that_is_not_known_yet_is_waited_for(tmp_path: Path, dies_again: bool) -> None:
    """The call may have met another worker than the one whose death is known."""
    page(1)
    page(2, "id")
    lost(last=False).write(tmp_path)

    async def main() -> InferResponse:
        backend = SupervisedBackend(Scripted(DIED, ANSWER), Remote(tmp_path))
        await backend.open()
        if dies_again:
            both = (*lost(last=False).losses, *lost(last=False, serial=2, pid=2).losses)
            again = Health(server_id=SERVER, losses=both)
            asyncio.get_running_loop().call_later(0.1, again.write, tmp_path)
        try:
            return await backend.infer(InferRequest("m", {}, request_id="id", timeout_s=20))
        finally:
            await backend.close()

    began = time.monotonic()
    if dies_again:
        with pytest.raises(BackendUnavailable):
            asyncio.run(main())
    else:
        assert asyncio.run(main()) is ANSWER
        assert time.monotonic() - began > 0.3


def read_stream(folder: Path, backend: Scripted, meanwhile: Callable[[], Any]) -> tuple[int, CallError | None]:
    async def main() -> tuple[int, CallError | None]:
        own, count = SupervisedBackend(backend, HealthFile(folder)), 0
        await own.open()
        asyncio.get_running_loop().call_later(0.1, meanwhile)
        try:
            async with aclosing(own.stream(InferRequest("m", {}, request_id="id", timeout_s=20))) as parts:
                async for _ in parts:
                    count += 1
            return count, None
        except CallError as error:
            return count, error
        finally:
            await own.close()

    return asyncio.run(_within(main()))


async def _within(main: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wait_for(main, 15)


def test_a_stream_breaks_off_with_its_worker_and_is_sent_again_only_before_its_first_part(tmp_path: Path) -> None:
    page(1, "id")
    count, error = read_stream(tmp_path, Scripted(ANSWER, ANSWER, "hang"), lambda: lost(last=True).write(tmp_path))
    assert count == 2
    assert isinstance(error, BackendUnavailable)
    page(2, "another")
    backend = Scripted("hang", ANSWER, "end")
    count, error = read_stream(tmp_path, backend, lambda: lost(last=True, serial=2, pid=2).write(tmp_path))
    assert (count, error, len(backend.sent)) == (1, None, 2)
    page(3, "another")
    backend = Scripted(ANSWER, "hang", ANSWER, "end")
    count, error = read_stream(tmp_path, backend, lambda: lost(last=True, serial=3, pid=3).write(tmp_path))
    assert count == 1
    assert isinstance(error, BackendUnavailable)
    assert len(backend.sent) == 1
