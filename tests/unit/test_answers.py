"""The socket between two workers: who may connect, who waits for whom, and how each sees that the other has gone."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest

from orchestrator.engine.answers import ANSWERS_PARAMETER, Answers, Listener, wait_readable
from orchestrator.engine.frames import End, FrameReader
from orchestrator.errors import CallCancelled, InvalidInput, RequestFailed, ServiceFault
from orchestrator.worker.faults import error_text

CHUNK = {"x": np.zeros(10_000)}


@pytest.fixture
def ends() -> Iterator[tuple[Answers, socket.socket]]:
    """A worker's end, and its caller's."""
    with Listener() as listener:
        answers = Answers.to_caller({ANSWERS_PARAMETER: listener.name})
        assert answers is not None
        connected = listener.accept()
    with contextlib.closing(answers), connected:
        yield answers, connected


def frames(connected: socket.socket) -> list[object]:
    reader, found = FrameReader(), list[object]()
    while wait_readable(connected, 5) and (data := connected.recv(1 << 20)):
        reader.feed(data)
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


def test_chunks_and_the_end_arrive(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends

    async def send() -> None:
        for index in range(3):
            await answers.send({"i": np.array([index])})
        await answers.end()

    asyncio.run(send())
    *chunks, end = frames(connected)
    assert [chunk["i"].tolist() for chunk in chunks] == [[0], [1], [2]]  # type: ignore[index]
    assert end == End()


def test_an_error_is_the_end(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends
    asyncio.run(answers.end(error_text(RequestFailed("no tea", status=418))))
    (end,) = frames(connected)
    assert isinstance(end, End)
    assert end.error is not None
    assert end.error.startswith("no tea\n")
    assert json.loads(end.error.partition("\x1e")[2])["status"] == 418


def test_a_worker_that_dies_says_nothing(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends
    answers.close()
    assert frames(connected) == []
    assert answers.gone()


def test_a_worker_waits_until_its_caller_reads(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends

    async def flood() -> None:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for sent in range(1, 101):  # noqa: B007
                await answers.send(CHUNK)
            await answers.end()

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.2)
        assert sent < 20  # of 80 kB each
        assert not answers.gone()
        found = await asyncio.to_thread(frames, connected)
        assert len(found) == 101
        await sending

    asyncio.run(flood())


@pytest.mark.parametrize("how", ["closes", "writes no more"])
def test_a_worker_sees_that_its_caller_has_gone(ends: tuple[Answers, socket.socket], how: str) -> None:
    answers, connected = ends
    assert not answers.gone()
    if how == "closes":
        connected.close()
    else:
        connected.shutdown(socket.SHUT_WR)
    assert answers.gone()
    if how == "closes":
        with pytest.raises(CallCancelled):
            asyncio.run(answers.send(CHUNK))
    asyncio.run(answers.end())


def test_a_caller_who_has_gone_cannot_be_reached() -> None:
    with Listener() as listener:
        pass
    with pytest.raises(CallCancelled):
        Answers.to_caller({ANSWERS_PARAMETER: listener.name})


def test_only_callers_of_ours_are_reached() -> None:
    assert Answers.to_caller({}) is None
    for name in ("", "elsewhere", 7):
        with pytest.raises(InvalidInput):
            Answers.to_caller({ANSWERS_PARAMETER: name})


def test_a_model_that_has_not_connected_is_no_service() -> None:
    with Listener() as listener, pytest.raises(ServiceFault, match="cannot be called from inside Triton"):
        listener.accept()


def test_every_call_has_a_name_of_its_own() -> None:
    with Listener() as one, Listener() as other:
        assert one.name != other.name


def test_waiting_ends_in_time(ends: tuple[Answers, socket.socket]) -> None:
    _, connected = ends
    assert not wait_readable(connected, 0.05)
    assert not wait_readable(connected, -1)


def test_a_send_that_was_cancelled_leaves_whole_frames(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends
    sent = 0

    async def flood() -> None:
        nonlocal sent

        async def send() -> None:
            nonlocal sent
            while True:
                await answers.send(CHUNK)
                sent += 1

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.2)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        found = asyncio.create_task(asyncio.to_thread(frames, connected))
        await answers.end(error_text(RequestFailed("no tea", status=418)))
        *chunks, end = await found
        assert len(chunks) == sent + 1  # the one that was cancelled in its middle
        assert isinstance(end, End)
        assert str(end.error).startswith("no tea\n")

    asyncio.run(flood())


def test_the_end_waits_no_longer_than_it_should_for_who_does_not_read(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends

    async def end() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    await answers.send(CHUNK)
        async with asyncio.timeout(10):
            await answers.end(within_s=0.1)

    asyncio.run(end())
    assert not any(isinstance(each, End) for each in frames(connected))


def test_a_child_of_the_workers_does_not_keep_its_connections(ends: tuple[Answers, socket.socket]) -> None:
    answers, connected = ends
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)  # until the parent has gone
        os._exit(0)
    os.close(read)
    try:
        answers.close()
        assert wait_readable(connected, 5)
        assert connected.recv(1) == b""
    finally:
        os.close(write)
        os.waitpid(child, 0)
