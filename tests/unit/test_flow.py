"""Flow control: a stream stops a window ahead of its reader, and goes on when it reads."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.board import BoardReader, CallBoard, create_board
from orchestrator.errors import CallCancelled
from orchestrator.worker.executor import Answer
from orchestrator.worker.flow import Flow, Window

MIB = 1 << 20
CHUNKS = 256


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_board(tmp_path / "calls")
    return tmp_path / "calls"


@pytest.fixture
def board(path: Path) -> Iterator[CallBoard]:
    with CallBoard(path) as board:
        yield board


def text(size: int) -> Answer:
    tensor = np.empty(1, dtype=object)
    tensor[0] = b"x" * size
    return Answer({"result": tensor})


class Stream:
    """A producer in a task of its own, which counts what it has made."""

    def __init__(self, flow: Flow, number: int, chunk: Answer) -> None:
        self.made = 0
        window = flow.window(number)
        assert window is not None
        self.task = asyncio.create_task(self._make(flow, window, chunk))

    async def _make(self, flow: Flow, window: Window, chunk: Answer) -> None:
        while True:
            self.made += 1
            await flow.sent(window, chunk)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def settled(stream: Stream) -> int:
    """How many chunks it has made when it makes no more."""
    async with asyncio.timeout(10):
        made = -1
        while made != stream.made:
            made = stream.made
            await asyncio.sleep(0.05)  # twice the longest pause
    return made


def test_a_stream_whose_caller_is_not_on_the_board_has_no_window(path: Path, board: CallBoard) -> None:
    assert Flow(None).window(board.enter()) is None
    flow = Flow(BoardReader(path))
    assert flow.window(None) is None
    assert flow.window(0) is None
    number = board.enter()
    assert flow.window(number) is not None
    assert flow.window(number ^ 1 << 22) is None  # of another region: a caller with another board
    board.leave(number)
    assert flow.window(number) is None


@pytest.mark.parametrize(
    ("chunk", "window"),
    [
        (Answer({"result": np.zeros(1)}), CHUNKS),
        (Answer({"result": np.zeros(MIB // 8), "effects": np.zeros(1)}), 4),
        (text(MIB), 4),
        (text(9 * MIB), 2),
    ],
)
def test_a_stream_stops_a_window_ahead_of_its_reader(path: Path, board: CallBoard, chunk: Answer, window: int) -> None:
    async def run() -> None:
        number = board.enter()
        stream = Stream(Flow(BoardReader(path)), number, chunk)
        assert await settled(stream) == window
        for taken in range(1, 2 * window + 1, 1 + window // 8):
            board.consumed(number, taken)
            made = await settled(stream)
            # It goes on when half of the window is free.
            assert taken + window / 2 <= made <= taken + window
        board.consumed(number, made)
        assert await settled(stream) == made + window
        await stream.stop()

    asyncio.run(run())


@pytest.mark.parametrize("has_window", [True, False])
def test_a_generator_that_never_waits_lets_other_calls_go_on(path: Path, board: CallBoard, has_window: bool) -> None:
    async def run() -> int:
        flow, turns = Flow(BoardReader(path)), 0
        number = board.enter()
        window = flow.window(number) if has_window else None

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside, made, end = asyncio.create_task(other()), 0, time.perf_counter() + 0.2
        while time.perf_counter() < end:
            await flow.sent(window, text(1))
            made += 1
            board.consumed(number, made)  # whoever reads is as quick
        beside.cancel()
        assert made > 10 * turns  # nor does each chunk wait for them
        return turns

    assert asyncio.run(run()) > 5


@settings(max_examples=200, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * MIB), min_size=1, max_size=600), data=st.data())
def test_a_window_is_never_exceeded_and_never_stays_shut(sizes: list[int], data: st.DataObject) -> None:
    path = Path(f"/proc/self/fd/{os.memfd_create('board')}")
    os.truncate(path, 2**26)
    with CallBoard(path) as board:
        number = board.enter()
        window, taken = Window(BoardReader(path), number), 0
        for sent, size in enumerate(sizes, 1):
            is_open = window.add(size)
            under_way = sizes[taken:sent]
            assert is_open == (len(under_way) < 2 or (len(under_way) < CHUNKS and sum(under_way) < 4 * MIB))
            while not is_open:
                taken += data.draw(st.integers(0, sent - taken)) if taken < sent - 1 else 1
                board.consumed(number, taken)
                is_open = window.has_room()
                assert is_open or sent > taken
    os.close(int(path.name))


def test_a_stream_ends_whose_caller_leaves(path: Path, board: CallBoard) -> None:
    async def run() -> None:
        flow, first, second = Flow(BoardReader(path)), board.enter(), board.enter()
        streams = [Stream(flow, number, text(1)) for number in (first, second)]
        for stream in streams:
            await settled(stream)
        board.leave(first)
        assert board.enter() & 2**14 - 1 == first & 2**14 - 1  # the next call has its place already
        with pytest.raises(CallCancelled):
            await asyncio.wait_for(streams[0].task, 1)
        assert not streams[1].task.done()
        board.close()
        with pytest.raises(CallCancelled):
            await asyncio.wait_for(streams[1].task, 1)

    asyncio.run(run())


def test_a_stream_ends_whose_caller_was_killed(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from orchestrator.engine.board import CallBoard\n"
        "board = CallBoard(Path(sys.argv[1])); print(board.enter(), flush=True); time.sleep(60)"
    )

    async def run(process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        stream = Stream(Flow(BoardReader(path)), int(process.stdout.readline()), text(1))
        await asyncio.sleep(1.2)
        assert await settled(stream) == CHUNKS
        assert not stream.task.done()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with pytest.raises(CallCancelled):  # though its number stays on the board
            await asyncio.wait_for(stream.task, 5)

    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        asyncio.run(run(process))


def test_a_thousand_readers_who_have_stopped_cost_little_and_hold_nobody_up(path: Path, board: CallBoard) -> None:
    async def run() -> None:
        flow = Flow(BoardReader(path))
        stopped = [Stream(flow, board.enter(), text(1)) for _ in range(1000)]
        await asyncio.sleep(0.5)
        assert {stream.made for stream in stopped} == {CHUNKS}
        began, worked = time.perf_counter(), time.process_time()
        await asyncio.sleep(2)
        share = (time.process_time() - worked) / (time.perf_counter() - began)
        number = board.enter()
        quick = Stream(flow, number, text(1))
        began = time.perf_counter()
        while quick.made < 5000:
            board.consumed(number, quick.made)
            await asyncio.sleep(0)
        rate = quick.made / (time.perf_counter() - began)
        print(f"\n1000 streams that wait: {share:.1%} of a core; one beside them: {rate:.0f} chunks a second")
        assert share < 0.3
        assert {stream.made for stream in stopped} == {CHUNKS}
        for stream in (quick, *stopped):
            await stream.stop()

    asyncio.run(run())
