"""`depends(url=...)`: services that are served elsewhere, over real sockets."""

import asyncio
import contextlib
import gc
import logging
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pandas as pd
import pytest
import uvicorn
from PIL import Image

from orchestrator.client.dependency import remote_service
from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
    RequestFailed,
    ServiceFault,
)
from orchestrator.sdk import read_service
from orchestrator.sdk.context import RunningCall, running_call
from orchestrator.server import create_app
from orchestrator.worker.local import LocalBackend
from tests.integration.live import live_server
from tests.services.media import Media, Point, Streams, Teapot
from tests.services.remote import Far, FarRefused, Waiting, callers_of

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def far_url() -> Iterator[str]:
    with live_server(Far) as url:
        yield url


@pytest.fixture(scope="module")
def media_url() -> Iterator[str]:
    with live_server(Media) as url:
        yield url


@pytest.fixture(scope="module")
def streams_url() -> Iterator[str]:
    with live_server(Streams) as url:
        yield url


@pytest.fixture(scope="module", params=["class", "url alone"])
def known(request: pytest.FixtureRequest) -> bool:
    """Whether the caller knows the class."""
    return bool(request.param == "class")


@pytest.fixture(scope="module")
def far(far_url: str, known: bool) -> Any:
    return remote_service(far_url, Far if known else None)


@pytest.fixture(scope="module")
def near_urls(far_url: str, known: bool) -> Iterator[dict[str, str]]:
    """Addresses of the services that call: `async` and `sync`."""
    asynchronous, sync = callers_of(far_url, Far if known else None)
    with live_server(asynchronous) as first, live_server(sync) as second:
        yield {"async": first, "sync": second}


@pytest.fixture(params=["async", "sync"])
def near(request: pytest.FixtureRequest, near_urls: dict[str, str]) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=near_urls[request.param], trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (3, 2), "red").save(path)
    return path


@contextmanager
def serving_at(port: int, service: type) -> Iterator[None]:
    definition = read_service(service, f"{service.__module__}:{service.__qualname__}")
    app = create_app(definition.spec, LocalBackend(definition))
    sock = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def running(call: RunningCall) -> Iterator[None]:
    token = running_call.set(call)
    try:
        yield
    finally:
        running_call.reset(token)


# Values


def test_with_a_class_values_are_of_its_annotations(media_url: str, picture: Path) -> None:
    media = remote_service(media_url, Media)
    doubled = media.double(np.array([[1, 2]], dtype=np.float32))
    assert (doubled.dtype, doubled.tolist()) == (np.float32, [[2.0, 4.0]])
    doubled += 1  # it is the caller's own
    assert np.isnan(media.double([[np.nan, np.inf]])[0, 0])
    assert media.words(np.array(["a", "ü"])).tolist() == ["a", "ü"]
    assert media.root_array(np.arange(4).reshape(2, 2)).dtype == np.int64
    assert media.root_model(Point(x=3)) == Point(x=3)
    assert media.root_default() == Point(x=7)
    assert media.root_text('"a" 7') == '"a" 7'
    assert media.root_bytes(b"\x00\xff") == media.raw(b"\x00\xff") == b"\x00\xff"
    assert media.root_list([1, 2]) == 3
    assert media.mixed("7", 1.5, True, Point(x=1), ["b"], 3, file=picture)[-1] == len(picture.read_bytes())
    assert media.mixed("7", 1.5, flag=True, point={"x": 1}, words=["b"], either="3", file=None)[5:] == ["3", None]
    assert media.spread(1, 2, 3, a="b") == [1, [2, 3], {"a": "b"}]
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    for echoed in (media.frame(table), media.columns(frame=table), media.root_frame(table)):
        pd.testing.assert_frame_equal(echoed, table)
    assert media.flip(Image.open(picture)).size == (3, 2)
    assert media.root_image(Image.open(picture)) == "PNG 3x2"
    assert media.maybe() is None
    assert media.maybe(None) is None
    assert media.maybe(image=Image.open(picture)).getpixel((0, 0)) == (255, 0, 0)


def test_files_come_into_the_folder_of_the_call(media_url: str, picture: Path, tmp_path: Path) -> None:
    class Folder:
        def folder(self) -> Path:
            return tmp_path

    content = picture.read_bytes()
    for media in (remote_service(media_url, Media), remote_service(media_url)):
        with running(RunningCall(workspace=Folder())):
            copies = [media.copy(picture), media.root_file(picture), *media.pair(picture)]
        assert [copy.read_bytes() for copy in copies] == [content] * 4
        assert {copy.parent for copy in copies} == {tmp_path}
        assert {copy.suffix for copy in copies} <= {".png", ".bin", ""}
        assert media.sizes([picture, picture], labels=["a"]) == [[len(content)] * 2, ["a"]]
        assert media.sizes(files=[]) == [[], None]


def test_by_its_url_alone_values_are_as_the_clients_have_them(media_url: str, picture: Path) -> None:
    media = remote_service(media_url)
    assert media.double(np.array([[1, 2]])).dtype == np.float32
    assert media.root_model({"x": 3}) == {"x": 3, "label": "here"}
    assert media.root_text("a") == "a"
    assert media.flip(picture).size == media.flip(Image.open(picture)).size == (3, 2)
    assert media.copy(picture).read_bytes() == picture.read_bytes()
    pd.testing.assert_frame_equal(media.frame(pd.DataFrame({"a": [1]})), pd.DataFrame({"a": [1]}))


def test_any_of_many_calls_at_once(far: Any) -> None:
    async def calls() -> list[int]:
        tasks = [asyncio.create_task(far.to_async.add(n)) for n in range(150)]
        return list(await asyncio.gather(*tasks))

    assert asyncio.run(calls()) == [n + 1 for n in range(150)]
    assert asyncio.run(calls()) == [n + 1 for n in range(150)]  # on another loop; the first one is closed
    results: list[int] = []
    threads = [threading.Thread(target=lambda n=n: results.append(far.add(n))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [n + 1 for n in range(20)]


def test_an_async_api_of_a_class_is_awaited(far_url: str) -> None:
    async def call() -> Any:
        return await remote_service(far_url, Far).wait("a", 0.0)

    assert asyncio.run(call()) == "a"
    assert remote_service(far_url, Far).to_sync.wait("a", 0.0) == "a"
    assert remote_service(far_url).wait("a", 0.0) == "a"


# Streams


def test_streams_are_read_by_for_and_by_async_for(far: Any, known: bool) -> None:
    async def chunks(stream: Any) -> list[Any]:
        return [chunk async for chunk in stream]

    for words in (list(far.words("a b c")), list(far.to_sync.words("a b c"))):
        assert words == ["a", "b", "c"] if known else "".join(words) == "abc"
    assert "".join(asyncio.run(chunks(far.to_async.words("a b c")))) == "abc"

    async def plainly() -> list[Any]:
        return await chunks(far.words("a b"))

    assert "".join(asyncio.run(plainly())) == "ab"


@pytest.mark.parametrize("cls", [Streams, None])
def test_chunks_of_every_kind(streams_url: str, cls: type | None) -> None:
    streams = remote_service(streams_url, cls)
    assert [array.tolist() for array in streams.arrays()] == [[[1.0, 1.0]], [[0.0], [0.0]]]
    assert b"".join(streams.content()) == b"\x00\xff\x01"
    assert list(streams.to_sync.numbers(3)) == [0, 1, 2]
    assert "".join(streams.events()) == "data: one\n\ndata: two\n\n"
    assert "".join(streams.text(count=2)) == "line 0\nline 1\n"
    assert "".join(streams.signed()) == "a"
    received = []
    # Several tests have a class of that name: by the URL alone nobody can say which one it is.
    with pytest.raises(Teapot if cls else RequestFailed, match="short and stout") as failed:
        received.extend(streams.to_sync.numbers(2, fail=True))
    assert (failed.value.status, failed.value.name) == (418, "Teapot")
    with pytest.raises(ServiceFault if cls else BackendUnavailable):
        list(streams.text(1, fail=True))


def test_an_error_in_the_middle_keeps_its_class_and_what_came_before(far_url: str) -> None:
    far = remote_service(far_url, Far)
    received: list[str] = []

    async def read() -> None:
        async for word in far.to_async.words("a b", fail=True):
            received.append(word)

    with pytest.raises(FarRefused, match="no more words"):
        asyncio.run(read())
    assert received == ["a", "b"]


def test_a_stream_that_is_left_ends_over_there(far: Any) -> None:
    for number in far.to_sync.ticks("left by for"):
        if number == 2:
            break
    gc.collect()
    assert eventually(lambda: "left by for" in far.to_sync.seen()["ended"])

    async def leave() -> None:
        stream = far.to_async.ticks("left by async for")
        async for number in stream:
            if number == 2:
                break

    asyncio.run(leave())
    assert eventually(lambda: "left by async for" in far.to_sync.seen()["ended"])


# Arguments


def test_arguments_are_checked(far: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert far.add(1, junk=5) == far.add(a=1, junk=6) == 2
    (warned,) = [record.getMessage() for record in caplog.records if "junk" in record.getMessage()]
    assert warned.endswith("add has no argument 'junk'; it is left away")
    with pytest.raises(InvalidInput):
        far.add()
    with pytest.raises(InvalidInput):
        far.add(1, 2, 3)
    with pytest.raises(InvalidInput, match="valid integer"):
        far.add("x")


def test_with_a_class_they_are_checked_before_anything_is_sent() -> None:
    far = remote_service(f"http://127.0.0.1:{free_port()}", Far)
    with pytest.raises(InvalidInput, match=r"Far\.add\.a: Field required"):
        far.add(b=1)
    with pytest.raises(AttributeError, match="has no API 'sub': it has seen, wait, add"):
        far.sub(1)


def test_an_api_that_is_not_there(far_url: str) -> None:
    with pytest.raises(EndpointNotFound, match="has no API 'sub': it has seen, wait, add"):
        remote_service(far_url).sub(1)
    with pytest.raises(EndpointNotFound):  # of a class that is not the one that is served
        remote_service(far_url, Media).page("a")

    async def mistaken() -> None:
        far = remote_service(far_url)
        with pytest.raises(TypeError, match="async for"):
            await far.to_async.words("a")
        with pytest.raises(TypeError, match="await it"):
            async for _ in far.to_async.add(1):
                pass

    asyncio.run(mistaken())


# Errors


def test_errors_keep_class_and_status(far: Any, near: httpx2.Client) -> None:
    # Where only the URL is known the class is found by its name, for it is the one of that name in the process.
    with pytest.raises(FarRefused, match="not for you") as refused:
        far.fail("refused")
    assert refused.value.status == 451
    with pytest.raises(Overloaded, match="too much") as busy:
        far.fail("busy")
    assert busy.value.retry_after_s == 7
    with pytest.raises(ServiceFault) as fault:
        far.fail("otherwise")
    assert "secret" not in str(fault.value)
    # And on to the caller's caller.
    answers = {how: near.post("/fail", json={"how": how}) for how in ("refused", "busy", "otherwise")}
    assert {how: answer.status_code for how, answer in answers.items()} == {
        "refused": 451,
        "busy": 429,
        "otherwise": 500,
    }
    assert answers["refused"].json()["name"] == "FarRefused"
    assert answers["busy"].headers["retry-after"] == "7"


def test_invalid_input_has_its_problems(media_url: str) -> None:
    with pytest.raises(InvalidInput) as wrong:
        remote_service(media_url).root_list(["a"])
    assert wrong.value.problems[0]["type"] == "int_parsing"


# What calls inherit


def test_the_id_and_the_trace_go_along(near: httpx2.Client) -> None:
    seen = near.post("/seen", headers={"x-request-id": "one-of-mine", "traceparent": TRACE}).json()
    assert (seen["id"], seen["trace"]) == ("one-of-mine", TRACE)


def test_the_deadline_shrinks_on_the_way(near: httpx2.Client) -> None:
    seen = near.post("/seen", json={"after_s": 0.5}, headers={"x-request-timeout": "8"}).json()
    assert 0 < seen["left_s"] <= 7.5


def test_a_call_that_is_too_late_ends_both(near: httpx2.Client, far: Any) -> None:
    begun = time.monotonic()
    answer = near.post("/wait", json={"name": "late"}, headers={"x-request-timeout": "0.5"})
    assert answer.status_code == 504
    assert time.monotonic() - begun < 10
    assert eventually(lambda: "late" in far.to_sync.seen()["ended"])


def test_a_call_whose_deadline_has_passed_is_not_sent(far: Any) -> None:
    before = far.to_sync.seen()["calls"]
    with running(RunningCall(deadline=time.time() - 1)), pytest.raises(DeadlineExceeded, match="was not called"):
        far.to_sync.seen()
    assert far.to_sync.seen()["calls"] == before + 1


def test_nobody_waits_longer_than_the_deadline(far: Any) -> None:
    begun = time.monotonic()
    with running(RunningCall(deadline=time.time() + 0.3)), pytest.raises(DeadlineExceeded):
        far.to_sync.wait("deadline")
    with running(RunningCall(deadline=time.time() + 0.3)), pytest.raises(DeadlineExceeded):
        list(far.to_sync.ticks("deadline of a stream"))
    assert time.monotonic() - begun < 10
    assert eventually(lambda: {"deadline", "deadline of a stream"} <= set(far.to_sync.seen()["ended"]))


@pytest.mark.parametrize("api", ["wait", "ticks"])
def test_who_goes_ends_the_work_over_there(near: httpx2.Client, far: Any, api: str) -> None:
    name = f"gone {api} {near.base_url.port} {far!r}"
    with (
        contextlib.suppress(httpx2.ReadTimeout),
        near.stream("POST", f"/{api}", json={"name": name}, timeout=0.5) as answer,
    ):
        assert next(answer.iter_bytes()).startswith(b"0")
    assert eventually(lambda: name in far.to_sync.seen()["ended"])


def test_a_thread_whose_caller_has_gone_waits_no_longer(far: Any) -> None:
    gone = threading.Event()
    threading.Timer(0.3, gone.set).start()
    ended = RunningCall(end=lambda: CallCancelled("the caller has gone") if gone.is_set() else None)
    begun = time.monotonic()
    with running(ended), pytest.raises(CallCancelled):
        far.to_sync.wait("a thread's")
    assert time.monotonic() - begun < 10
    assert eventually(lambda: "a thread's" in far.to_sync.seen()["ended"])


def test_code_that_blocks_its_event_loop_works_with_one_warning(
    near_urls: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with httpx2.Client(base_url=near_urls["async"], trust_env=False) as client, caplog.at_level(logging.WARNING):
        assert [client.post("/blocks", json={"a": n}).json() for n in range(3)] == [1, 2, 3]
    warned = [record for record in caplog.records if "blocks all other calls" in record.getMessage()]
    assert len(warned) == 1


# Servers that come and go


@pytest.mark.parametrize("cls", [Far, None])
def test_a_server_may_come_later_and_come_back(cls: type | None) -> None:
    port = free_port()
    far = remote_service(f"http://127.0.0.1:{port}", cls)

    async def calls() -> None:
        async def fails() -> None:
            begun = time.monotonic()
            with pytest.raises(BackendUnavailable, match=str(port)) as away:
                await far.to_async.add(1)
            assert away.value.retryable
            assert time.monotonic() - begun < 3
            assert not await far.ready()

        async def works() -> None:
            assert await far.to_async.add(1) == 2
            assert await asyncio.to_thread(far.add, 2) == 3
            assert await far.ready()

        await fails()
        with pytest.raises(BackendUnavailable):
            await asyncio.to_thread(far.add, 1)
        for _ in range(2):
            server = serving_at(port, Far)
            await asyncio.to_thread(server.__enter__)
            try:
                await works()
            finally:
                await asyncio.to_thread(server.__exit__, None, None, None)
            await fails()

    asyncio.run(calls())


def test_a_server_that_comes_back_as_another_is_asked_again() -> None:
    port = free_port()
    service = remote_service(f"http://127.0.0.1:{port}")
    with serving_at(port, Far):
        assert service.add(1) == 2
    with pytest.raises(BackendUnavailable):
        service.add(1)
    with serving_at(port, Media):
        assert service.page("a") == "<h1>a</h1>"
        with pytest.raises(EndpointNotFound):
            service.add(1)


def test_an_api_with_a_name_of_ours() -> None:
    with live_server(Waiting) as url:
        assert remote_service(url).api_ready() == "yes"
        assert remote_service(url, Waiting).to_sync.ready() == "yes"
        assert asyncio.run(remote_service(url).ready())


def test_a_process_ends_without_a_word(far_url: str) -> None:
    code = f"""
    import asyncio, threading, time
    from orchestrator.client.dependency import remote_service
    from orchestrator.errors import CallCancelled
    from tests.services.remote import Far

    for cls in (Far, None):
        far = remote_service({far_url!r}, cls)
        assert far.add(1) == 2
        stream = far.to_sync.ticks("of a process")
        assert next(stream) == 0

        async def calls():
            assert await far.to_async.add(1) == 2
            stream = far.to_async.ticks("of a process")
            async for _ in stream:
                break
        asyncio.run(calls())
        asyncio.run(calls())


        def wait(far=far):
            try:
                far.to_sync.wait("of a thread")
            except CallCancelled:
                pass

        threading.Thread(target=wait, daemon=True).start()
        time.sleep(0.2)
    """
    ran = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
