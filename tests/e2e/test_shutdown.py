"""SIGTERM under load: what was accepted is answered, what comes later hears that the server stops, and then it ends."""

import asyncio
import re
import signal
from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.e2e.callers import Caller, call
from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e


@dataclass
class Load:
    """Callers who each ask again and again, until they hear that there is no more.

    Attributes:
        outcomes: what came of each call: its status, or what happened to its connection.
    """

    url: str
    outcomes: dict[str, str] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, caller: int, seconds: float) -> None:
        number = 0
        while not self.ended.is_set():
            name = f"c{caller}-{number}"
            number += 1
            try:
                async with Caller(self.url) as connection:
                    await connection.send("/work", {"name": name, "seconds": seconds})
                    answer = await connection.answer()
            except ConnectionRefusedError:
                self.outcomes[name] = "refused"
                return
            except OSError as error:
                self.outcomes[name] = repr(error)
                continue
            self.outcomes[name] = str(answer.status)
            if answer.status == 503:
                assert answer.headers["connection"] == "close"
                assert int(answer.headers["retry-after"]) >= 1
                await asyncio.sleep(0.05)


async def kept(url: str, seconds: float, seen: list[str]) -> None:
    """Asks on one connection for as long as it is kept."""
    async with Caller(url) as caller:
        while True:
            await caller.send("/work", {"name": f"kept{len(seen)}", "seconds": seconds})
            answer = await caller.answer()
            seen.append(str(answer.status))
            if answer.headers.get("connection") == "close":
                return


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_every_accepted_request_is_answered(options: tuple[str, ...]) -> None:
    """Acceptance 6."""

    async def stop_under_load(server: Serving) -> Load:
        load = Load(server.url)
        seen: list[str] = []
        callers = [asyncio.create_task(load.run(number, 0.05)) for number in range(40)]
        callers.append(asyncio.create_task(kept(server.url, 0.05, seen)))
        await asyncio.sleep(1.5)
        server.process.send_signal(signal.SIGTERM)
        # At once, and while 40 calls still wait:
        async with asyncio.timeout(1):
            while (await call(server.url, "/readyz", method="GET")).status != 503:
                await asyncio.sleep(0.01)
        assert (await call(server.url, "/livez", method="GET")).status == 200
        ready_at = asyncio.get_running_loop().time()
        await asyncio.gather(*callers)
        print(f"\nlast answer {asyncio.get_running_loop().time() - ready_at:.2f} s after /readyz said no", end="")
        # Where a connection ended before its answer, nothing of it had been accepted; but it is kept, so it has one.
        assert seen[-1] in ("503", "200")
        load.outcomes |= {f"kept{number}": status for number, status in enumerate(seen)}
        return load

    with Serving("queued:Sync", *options) as server:
        load = asyncio.run(stop_under_load(server))
        assert server.process.wait(30) == 0
        counts = Counter(load.outcomes.values())
        ran = Counter(re.findall(r"^ran (\S+)$", server.log, re.MULTILINE))
        print(f"; {len(ran)} ran; outcomes {dict(counts)}")
        assert set(counts) <= {"200", "503", "refused"}
        assert counts["200"] > 20
        assert counts["503"] > 0
        answered = {name for name, outcome in load.outcomes.items() if outcome == "200"}
        assert set(ran) == answered
        assert set(ran.values()) == {1}
        assert f"stopped after {len(ran)}" in server.log  # the hook ran, after the last call


def test_a_stream_ends_in_its_own_time() -> None:
    async def stop_in_a_stream(server: Serving) -> bytes:
        async with Caller(server.url) as caller:
            await caller.send("/ticks", {"name": "whole", "count": 60, "pause": 0.05})
            assert (await caller.head())[0] == 200
            body = await caller.chunk()
            server.process.send_signal(signal.SIGTERM)
            while chunk := await caller.chunk():
                body += chunk
            return body

    with Serving("queued:Async") as server:
        body = asyncio.run(stop_in_a_stream(server))
        assert body.split() == [str(number).encode() for number in range(60)]
        assert server.process.wait(30) == 0
        assert "Async stops; cancelled []" in server.log


def test_the_deadline_ends_what_does_not_end() -> None:
    async def stop(server: Serving) -> None:
        async with Caller(server.url) as streaming, Caller(server.url) as waiting:
            await streaming.send("/ticks", {"name": "endless"})
            assert (await streaming.head())[0] == 200
            await waiting.send("/work", {"name": "long", "seconds": 3600})
            await asyncio.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionError):
                await streaming.rest()
            assert (await waiting.answer()).status == 503

    with Serving("queued:Async", "--set", "traffic.shutdown_timeout=1") as server:
        asyncio.run(stop(server))
        assert server.process.wait(30) == 0
        assert "requests had not ended 1 s after the order to stop" in server.log
        assert re.search(r"Async stops; cancelled \['(endless', 'long|long', 'endless)'\]", server.log)
