"""Connections to Triton's HTTP, against a server that answers as it is told."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import numpy as np
import orjson
import pytest
import uvloop
from numpy.typing import NDArray

from orchestrator.engine.backend import InferRequest
from orchestrator.errors import BackendUnavailable, CallError, DeadlineExceeded, EndpointNotFound, ServiceFault
from orchestrator.triton import http_calls
from orchestrator.triton.command import free_ports
from orchestrator.triton.faults import StatusCause
from orchestrator.triton.http_calls import HttpCalls
from orchestrator.triton.supervised import _NEVER_SENT

T = TypeVar("T")
Reply = Callable[["Server", asyncio.StreamWriter, bytes], Awaitable[None]]


LIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n"


class Server:
    """An HTTP server that reads whole requests, and says that it lives.

    Attributes:
        connections: made so far.
        open: of those.
        requests: bodies.
        go: what `waiting` waits for.
    """

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.connections = self.open = 0
        self.requests: list[bytes] = []
        self.go = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As a server that is killed."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /v2/health/live "):
                    writer.write(LIVE)
                    continue
                length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(length)
                self.requests.append(body)
                await self.reply(self, writer, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()


def answer(array: NDArray[Any], head: str = "") -> bytes:
    """A whole HTTP answer with the output `y`."""
    content = array.tobytes()
    output = {"name": "y", "datatype": "INT64", "shape": array.shape, "parameters": {"binary_data_size": len(content)}}
    document = orjson.dumps({"outputs": [output]})
    length = len(document) + len(content)
    text = (
        f"HTTP/1.1 200 OK\r\n{head}Inference-Header-Content-Length: {len(document)}\r\nContent-Length: {length}\r\n\r\n"
    )
    return text.encode() + document + content


ONE = answer(np.ones(1, np.int64))


async def at_once(_: Server, writer: asyncio.StreamWriter, __: bytes) -> None:
    writer.write(ONE)


async def waiting(server: Server, writer: asyncio.StreamWriter, _: bytes) -> None:
    await server.go.wait()
    writer.write(ONE)


def sends(data: bytes, *, pieces: int = 0, closes: bool = False) -> Reply:
    async def reply(_: Server, writer: asyncio.StreamWriter, __: bytes) -> None:
        for at in range(0, len(data), pieces or len(data) or 1):
            writer.write(data[at : at + (pieces or len(data))])
            await writer.drain()
            if pieces:
                await asyncio.sleep(0.001)
        if closes:
            writer.close()

    return reply


def asked(timeout_s: float | None = 20, **more: Any) -> InferRequest:
    return InferRequest("m", {"x": np.zeros(3, np.int8)}, timeout_s=timeout_s, **more)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, T]], T]:
    def within(main: Coroutine[Any, Any, T]) -> T:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, 20))

    return within


Run = Callable[[Coroutine[Any, Any, Any]], Any]


def talk(run: Run, reply: Reply, use: Callable[[Server, HttpCalls], Awaitable[Any]]) -> Server:
    async def main() -> Server:
        server = Server(reply)
        await server.start()
        calls = HttpCalls(f"http://127.0.0.1:{server.port}")
        try:
            await use(server, calls)
        finally:
            await calls.close()
            await server.stop()
        return server

    server: Server = run(main())
    return server


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_one_connection_serves_one_call_after_the_other(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(5):
            assert (await calls.infer(asked(), 7)).outputs["y"].tolist() == [1]

    server = talk(run, at_once, use)
    assert server.connections == 1
    assert orjson.loads(server.requests[0][:-3])["parameters"]["call"] == 7


def test_calls_at_once_have_connections_of_their_own_and_few_of_those_are_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_calls, "_IDLE_S", 0.2)

    async def use(server: Server, calls: HttpCalls) -> None:
        several = [asyncio.ensure_future(calls.infer(asked(), 7)) for _ in range(20)]
        await until(lambda: len(server.requests) == 20)
        assert server.open == 20
        server.go.set()
        await asyncio.gather(*several)
        await calls.infer(asked(), 7)
        assert server.connections == 20
        await until(lambda: server.open == 4)
        await asyncio.sleep(0.5)
        await calls.infer(asked(), 7)
        assert (server.open, server.connections) == (4, 20)

    talk(run, waiting, use)


@pytest.mark.parametrize(
    ("count", "pieces"),
    [
        (0, 0),
        (0, 7),
        (9, 7),
        (300, 1024),
        (8_191, 0),
        (8_191, 5000),
        (8_192, 0),
        (8_192, 5000),
        (100_000, 70_000),
        (600_000, 0),
    ],
)
def test_an_answer_may_come_in_pieces(run: Run, count: int, pieces: int) -> None:
    array = np.arange(count)

    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(3):
            received = (await calls.infer(asked(), 7)).outputs["y"]
            np.testing.assert_array_equal(received, array)
            assert not received.flags.writeable
            assert received.flags.aligned

    assert talk(run, sends(answer(array), pieces=pieces), use).connections == 1


def test_an_answer_in_chunks(run: Run) -> None:
    head, _, body = ONE.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunked = b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", b""])
    chunked += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\n\r\n"

    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(2):
            assert (await calls.infer(asked(), 7)).outputs["y"].tolist() == [1]

    assert talk(run, sends(chunked), use).connections == 1


def test_a_large_request_arrives_whole(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        array = np.arange(1_000_000)
        await calls.infer(InferRequest("m", {"x": array}), 7)
        await calls.infer(asked(), 7)
        assert server.requests[0].endswith(array.tobytes())

    assert talk(run, at_once, use).connections == 1


def test_an_answer_to_half_a_request_ends_the_connection(run: Run) -> None:
    async def main() -> None:
        error = orjson.dumps({"error": "too large"})

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(LIVE)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(error), error))
            await asyncio.sleep(0.2)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1024)
        calls = HttpCalls(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(CallError, match="too large"):
            await calls.infer(InferRequest("m", {"x": np.zeros(50_000_000, np.int8)}), 7)
        assert not calls._idle
        await calls.close()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_connection_that_is_not_to_be_kept_is_not(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(2):
            await calls.infer(asked(), 7)

    assert talk(run, sends(answer(np.ones(1, np.int64), "Connection: close\r\n"), closes=True), use).connections == 2


def test_an_error_of_triton(run: Run) -> None:
    text = b'{"error":"Request for unknown model: \'m\' is not found"}'
    reply = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)

    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(2):
            with pytest.raises(EndpointNotFound):
                await calls.infer(asked(), 7)

    assert talk(run, sends(reply), use).connections == 1


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", ONE[:-1], answer(np.zeros(10_000, np.int64))[:-1]])
def test_a_lost_connection_may_have_begun_the_call(run: Run, data: bytes) -> None:
    async def use(_: Server, calls: HttpCalls) -> None:
        with pytest.raises(BackendUnavailable) as caught:
            await calls.infer(asked(), 7)
        cause = caught.value.__cause__
        assert isinstance(cause, StatusCause)
        assert cause.status.name == "UNAVAILABLE"
        assert not _NEVER_SENT.search(cause.text)

    assert len(talk(run, sends(data, closes=True), use).requests) == 1  # and it is not sent again from here


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", ONE + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_what_is_no_answer_ends_the_connection(run: Run, data: bytes) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        for _ in range(2):
            try:
                assert (await calls.infer(asked(), 7)).outputs["y"].tolist() == [1]
            except BackendUnavailable:
                assert data != ONE
            await asyncio.sleep(0.05)

    assert talk(run, sends(data), use).connections == 2


def test_an_answer_without_its_document_is_a_fault(run: Run) -> None:
    async def use(_: Server, calls: HttpCalls) -> None:
        with pytest.raises(ServiceFault):
            await calls.infer(asked(), 7)

    talk(run, sends(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), use)


def test_where_nobody_listens_nothing_was_sent(run: Run) -> None:
    async def main() -> None:
        calls = HttpCalls(f"http://127.0.0.1:{free_ports(1)[0]}")
        with pytest.raises(BackendUnavailable) as caught:
            await calls.infer(asked(), 7)
        assert isinstance(caught.value.__cause__, StatusCause)
        assert _NEVER_SENT.search(caught.value.__cause__.text)
        await calls.close()

    run(main())


def test_where_nobody_accepts_nothing_was_sent(run: Run) -> None:
    """A server that just dies: its system has made the connection, and ends it with the listener."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            calls = HttpCalls(f"http://127.0.0.1:{listener.getsockname()[1]}")
            asyncio.get_running_loop().call_later(0.2, listener.close)
            with pytest.raises(BackendUnavailable) as caught:
                await calls.infer(asked(), 7)
        assert isinstance(caught.value.__cause__, StatusCause)
        assert _NEVER_SENT.search(caught.value.__cause__.text)
        await calls.close()

    run(main())


def test_a_server_that_was_started_again_is_found(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        server.go.set()
        await asyncio.gather(*(calls.infer(asked(), 7) for _ in range(10)))
        await server.stop()
        await server.start()
        for _ in range(10):
            assert (await calls.infer(asked(), 7)).outputs["y"].tolist() == [1]
        assert len(server.requests) == 20

    talk(run, waiting, use)


def test_a_connection_that_the_loop_has_not_heard_the_end_of_is_not_used(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        await calls.infer(asked(), 7)
        (idle,) = calls._idle
        for writer in server._writers:  # in this turn of the loop: it hears of the end in the next one
            writer.transport.abort()
        await asyncio.sleep(0)
        assert (await calls.infer(asked(), 7)).outputs["y"].tolist() == [1]
        assert idle not in calls._idle

    assert talk(run, at_once, use).connections == 2


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
def test_who_leaves_is_released_and_the_call_runs_on(run: Run, how: str) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        held: list[asyncio.Future[Any]] = []
        if how == "cancelled":
            task = asyncio.ensure_future(calls.infer(asked(runs_on=held.append), 7))
            await until(lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(DeadlineExceeded):
                await calls.infer(asked(0.2, runs_on=held.append), 7)
        assert len(held) == 1
        await asyncio.sleep(0.1)
        assert not held[0].done()
        assert server.open == 1
        server.go.set()
        await held[0]
        await calls.infer(asked(runs_on=held.append), 7)
        assert len(held) == 1  # a call that ends holds nothing

    assert talk(run, waiting, use).connections == 1  # its connection is used again


def test_a_call_that_was_left_ends_with_its_connection(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        held: list[asyncio.Future[Any]] = []
        with pytest.raises(DeadlineExceeded):
            await calls.infer(asked(0.1, runs_on=held.append), 7)
        await server.stop()
        await held[0]
        await server.start()

    talk(run, waiting, use)


def test_who_is_let_go_since_nothing_will_come_hangs_up(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        with pytest.raises(DeadlineExceeded):
            await calls.infer(asked(0.1, runs_on=lambda rest: rest.cancel() and None), 7)
        server.go.set()
        await until(lambda: not server.open)
        await calls.infer(asked(), 7)

    assert talk(run, waiting, use).connections == 2


def test_time_may_run_out_before_there_is_a_connection(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        with pytest.raises(DeadlineExceeded):
            await calls.infer(asked(0.0), 7)
        assert not server.requests

    talk(run, at_once, use)


def test_close_releases_who_waits_and_waits_itself_for_the_end(run: Run) -> None:
    async def use(server: Server, calls: HttpCalls) -> None:
        held: list[asyncio.Future[Any]] = []
        task = asyncio.ensure_future(calls.infer(asked(runs_on=held.append), 7))
        await until(lambda: server.requests)
        asyncio.get_running_loop().call_later(0.2, server.go.set)
        await calls.close()
        assert server.go.is_set()
        with pytest.raises(BackendUnavailable, match="closed during the call"):
            await task
        assert held[0].done()
        with pytest.raises(BackendUnavailable, match="is closed"):
            await calls.infer(asked(), 7)
        await until(lambda: not server.open)

    talk(run, waiting, use)


def test_close_releases_who_is_about_to_connect(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts nobody
            calls = HttpCalls(f"http://127.0.0.1:{listener.getsockname()[1]}")
            task = asyncio.ensure_future(calls.infer(asked(), 7))
            await until(lambda: calls._busy)
            asyncio.get_running_loop().call_later(0.2, listener.close)
            await calls.close()
            with pytest.raises(BackendUnavailable, match="closed during the call"):
                await task

    run(main())


def test_close_does_not_wait_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_calls, "_CLOSE_S", 0.1)

    async def use(server: Server, calls: HttpCalls) -> None:
        task = asyncio.ensure_future(calls.infer(asked(), 7))
        await until(lambda: server.requests)
        await calls.close()
        with pytest.raises(BackendUnavailable):
            await task
        server.go.set()
        await until(lambda: not server.open)

    talk(run, waiting, use)


def test_callers_that_leave_at_any_moment_do_not_mix_answers_up(run: Run) -> None:
    async def echo(_: Server, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(answer(np.frombuffer(body[-8:], np.int64)))

    async def use(server: Server, calls: HttpCalls) -> None:
        held: list[asyncio.Future[Any]] = []
        random = np.random.default_rng(7)

        async def one(number: int) -> None:
            limit_s = float(random.uniform(0, 0.01))
            request = InferRequest("m", {"x": np.array([number])}, timeout_s=limit_s, runs_on=held.append)
            task = asyncio.ensure_future(calls.infer(request, 7))
            if number % 2:
                asyncio.get_running_loop().call_later(random.uniform(0, 0.01), task.cancel)
            try:
                assert (await task).outputs["y"].tolist() == [number]
            except (DeadlineExceeded, asyncio.CancelledError):
                return

        for number in range(0, 2000, 40):
            await asyncio.gather(*(one(each) for each in range(number, number + 40)))
        await asyncio.gather(*held)
        assert not calls._busy

    talk(run, echo, use)
