import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import grpc
import numpy as np
import pytest

from orchestrator.engine.backend import InferRequest, InferResponse
from orchestrator.errors import BackendUnavailable, CallError, SettingsError
from orchestrator.triton.addresses import parse_addresses, resolved
from orchestrator.triton.faults import NotBegun, from_status
from orchestrator.triton.several import SeveralBackend
from tests.virtual_time import run_virtually

REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:8001: Connection refused"


class Machine:
    """A server that does what it is told to."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.calls = 0
        self.takes_s = 0.0
        self.status: tuple[grpc.StatusCode, str] | None = None
        self.says: bool | None = True
        self.closed = False
        self.takes_calls = True
        self.broken = False
        self.failure: CallError | None = None

    async def open(self) -> None: ...

    def answers(self, model: str) -> bool:
        return not self.broken

    async def server_ready(self) -> bool:
        if self.says is None:
            await asyncio.sleep(3600)
        return bool(self.says)

    async def ready(self, model: str) -> bool:
        return model == "m"

    async def infer(self, request: InferRequest) -> InferResponse:
        self.calls += 1
        await asyncio.sleep(self.takes_s)
        if self.failure is not None:
            raise self.failure
        if self.status is not None:
            raise from_status(*self.status)
        return InferResponse({"by": np.array([self.address])})

    async def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        for _ in range(3):
            yield await self.infer(request)

    async def close(self) -> None:
        self.closed = True


class Farm:
    def __init__(self, *addresses: str) -> None:
        self.machines = {address: Machine(address) for address in addresses}
        self.addresses: Sequence[str] = addresses
        self.backend = SeveralBackend(self.machines.__getitem__, self._resolve)

    async def _resolve(self) -> Sequence[str]:
        return self.addresses

    async def call(self, count: int = 1) -> Counter[str]:
        """Who answered, or with what."""

        async def one() -> str:
            try:
                return str((await self.backend.infer(InferRequest("m", {}))).outputs["by"][0])
            except CallError as error:
                return type(error).__name__

        return Counter(await asyncio.gather(*(one() for _ in range(count))))


def farm(test: Callable[[Farm], Awaitable[None]], *addresses: str) -> None:
    async def main() -> None:
        tried = Farm(*(addresses or ("a:1", "b:1")))
        try:
            await test(tried)
        finally:
            await tried.backend.close()
            assert all(
                machine.closed for machine in tried.machines.values() if machine.address in tried.backend.addresses
            )

    run_virtually(main())


def test_the_one_with_the_least_to_do_gets_the_next_call() -> None:
    async def test(tried: Farm) -> None:
        for machine in tried.machines.values():
            machine.takes_s = 1
        assert await tried.call(10) == {"a:1": 5, "b:1": 5}
        tried.machines["a:1"].takes_s = 100
        slow = asyncio.create_task(tried.call(4))
        await asyncio.sleep(50)
        assert await tried.call() == {"b:1": 1}
        await slow

    farm(test)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (grpc.StatusCode.UNAVAILABLE, REFUSED),
        (grpc.StatusCode.UNAVAILABLE, "Server not ready"),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' has no available versions"),
    ],
)
def test_a_call_that_was_not_begun_goes_to_another(code: grpc.StatusCode, text: str) -> None:
    async def test(tried: Farm) -> None:
        tried.machines["a:1"].status = code, text
        assert await tried.call(6) == {"b:1": 6}
        tried.machines["b:1"].status = code, text
        assert await tried.call() == {"BackendUnavailable": 1}

    farm(test)


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "BackendUnavailable"),
        (grpc.StatusCode.INTERNAL, "Stub process 'm_0_0' is not healthy.", "BackendUnavailable"),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected inference input 'x' for model 'm'", "InvalidInput"),
    ],
)
def test_a_call_that_may_have_been_begun_is_not_repeated(code: grpc.StatusCode, text: str, error: str) -> None:
    async def test(tried: Farm) -> None:
        for machine in tried.machines.values():
            machine.status = code, text
        assert await tried.call() == {error: 1}
        assert sum(machine.calls for machine in tried.machines.values()) == 1

    farm(test)


def test_a_call_that_its_model_did_not_begin_goes_where_it_runs() -> None:
    async def test(tried: Farm) -> None:
        broken = tried.machines["a:1"]
        broken.failure = NotBegun("m: 1 of 1 workers died", soon=True)
        assert await tried.call(6) == {"b:1": 6}
        assert broken.calls, "nobody knew yet"
        broken.broken, broken.calls = True, 0
        assert await tried.call(6) == {"b:1": 6}
        assert not broken.calls

    farm(test)


def test_a_call_waits_for_the_repair_of_the_only_one() -> None:
    async def test(tried: Farm) -> None:
        machine, loop = tried.machines["a:1"], asyncio.get_running_loop()
        machine.broken, machine.failure = True, NotBegun("m: 1 of 1 workers died", soon=True)
        waiting = asyncio.create_task(tried.call())
        await asyncio.sleep(2)
        machine.broken, machine.failure = False, None
        assert await waiting == {"a:1": 1}
        machine.failure = NotBegun("m: crashes again and again", soon=False)
        began = loop.time()
        assert await tried.call() == {"NotBegun": 1}
        assert loop.time() == began
        machine.failure = NotBegun("m: 1 of 1 workers died", soon=True)
        assert await tried.call() == {"NotBegun": 1}
        assert 9 < loop.time() - began < 11
        with pytest.raises(NotBegun):
            await tried.backend.infer(InferRequest("m", {}, timeout_s=1))
        assert loop.time() - began < 12.1

    farm(test, "a:1")


def test_one_that_is_known_to_stop_gets_no_calls_before_it_is_asked() -> None:
    async def test(tried: Farm) -> None:
        await tried.call()
        tried.machines["a:1"].takes_calls = False
        assert await tried.call(4) == {"b:1": 4}

    farm(test)


def test_one_that_stops_gets_no_calls_and_ends_what_it_has() -> None:
    async def test(tried: Farm) -> None:
        for machine in tried.machines.values():
            machine.takes_s = 5
        running = asyncio.create_task(tried.call(2))
        await asyncio.sleep(0.1)
        tried.machines["a:1"].says = False
        await asyncio.sleep(1)
        assert tried.backend.addresses == {"a:1": False, "b:1": True}
        tried.machines["b:1"].takes_s = 0
        assert await tried.call(3) == {"b:1": 3}
        assert await running == {"a:1": 1, "b:1": 1}
        tried.machines["a:1"].says = True
        await asyncio.sleep(1)
        assert tried.backend.addresses["a:1"]

    farm(test)


def test_calls_of_one_that_says_nothing_do_not_hang() -> None:
    async def test(tried: Farm) -> None:
        tried.machines["a:1"].takes_s = 3600
        running = asyncio.create_task(tried.call(2))
        await asyncio.sleep(0.1)
        tried.machines["a:1"].says = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(1)
        assert not tried.backend.addresses["a:1"]
        assert await running == {"BackendUnavailable": 1, "b:1": 1}
        assert loop.time() - began < 10

    farm(test)


def test_machines_come_and_go_with_the_name() -> None:
    async def test(tried: Farm) -> None:
        tried.addresses = ["b:1"]
        assert await tried.call(2) == {"b:1": 2}
        tried.addresses = ["a:1", "b:1"]
        await asyncio.sleep(1)
        tried.machines["b:1"].takes_s = tried.machines["a:1"].takes_s = 1
        assert await tried.call(2) == {"a:1": 1, "b:1": 1}
        tried.addresses = ["a:1"]
        await asyncio.sleep(1)
        assert tried.backend.addresses == {"a:1": True}
        assert tried.machines["b:1"].closed

    farm(test)


def test_a_call_waits_a_little_for_any_server() -> None:
    async def test(tried: Farm) -> None:
        for machine in tried.machines.values():
            machine.says = False
        waiting = asyncio.create_task(tried.call())
        await asyncio.sleep(2)
        tried.machines["a:1"].says = True
        assert await waiting == {"a:1": 1}
        tried.machines["a:1"].says = False
        await asyncio.sleep(1)
        assert not await tried.backend.ready("m")
        assert await tried.call() == {"BackendUnavailable": 1}

    farm(test)


def test_a_stream_goes_to_another_only_before_its_first_part() -> None:
    async def test(tried: Farm) -> None:
        tried.machines["a:1"].status = grpc.StatusCode.UNAVAILABLE, REFUSED
        parts = [part async for part in tried.backend.stream(InferRequest("m", {}))]
        assert [str(part.outputs["by"][0]) for part in parts] == ["b:1"] * 3
        stream = tried.backend.stream(InferRequest("m", {}))
        await anext(stream)
        tried.machines["b:1"].status = grpc.StatusCode.UNAVAILABLE, REFUSED
        with pytest.raises(BackendUnavailable):
            await anext(stream)

    farm(test)


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("grpc://triton:8001", ("triton:8001",)),
        ("triton:8001", ("triton:8001",)),
        ("grpc://a:1, grpc://b:2,a:1", ("a:1", "b:2")),
        ("grpc://[::1]:8001", ("[::1]:8001",)),
    ],
)
def test_addresses(text: str, addresses: tuple[str, ...]) -> None:
    assert parse_addresses(text) == addresses


@pytest.mark.parametrize("text", ["http://a:1", "a", "grpc://a", "grpc://a:port", "", "grpc://a:1,", "grpc://:1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(SettingsError, match="grpc://host:8001"):
        parse_addresses(text)


def test_names_become_machines() -> None:
    async def main() -> None:
        assert await resolved(["127.0.0.1:1", "[::1]:2", "127.0.0.1:1"]) == ("127.0.0.1:1", "[::1]:2")
        assert await resolved(["localhost:3"]) in (("127.0.0.1:3",), ("[::1]:3",))
        assert await resolved(["no-such-host.invalid:3"]) == ()

    asyncio.run(main())
