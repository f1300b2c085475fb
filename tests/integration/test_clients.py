"""The clients that go by a server's schema: every kind of value there and back, over a real socket."""

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from orchestrator import AsyncHTTPClient, SyncHTTPClient, bentoml
from orchestrator.errors import BackendUnavailable, EndpointNotFound, InvalidInput, RequestFailed
from tests.integration.live import live_server
from tests.services.media import Media, Streams


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live_server(Media) as url:
        yield url


@pytest.fixture(scope="module")
def streams_url() -> Iterator[str]:
    with live_server(Streams) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[SyncHTTPClient]:
    with SyncHTTPClient(url) as client:
        yield client


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (3, 2), "red").save(path)
    return path


def test_arguments_go_by_name_and_by_position(client: SyncHTTPClient) -> None:
    point = {"x": 1, "label": "a"}
    expected = ["7", 1.5, True, point, ["b"], 3, None]
    assert client.mixed("7", 1.5, True, point, ["b"], 3) == expected
    assert client.mixed(either=3, words=["b"], point=point, flag=True, number=1.5, text="7") == expected
    assert client.mixed("7", 1.5, flag=True, point=point, words=["b"], either=3) == expected
    assert client.spread(1, more=[2, 3], named={"a": "b"}) == [1, [2, 3], {"a": "b"}]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "misses 'title'"),
        (("a",), {"title": "b"}, "two values for 'title'"),
        ((), {"tilte": "b"}, "no argument 'tilte'; its arguments: title"),
        (("a", "b"), {}, "takes 1 arguments, 2 were given"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_sent(
    client: SyncHTTPClient, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        client.page(*args, **kwargs)


def test_arrays_come_back_as_arrays_of_their_own_type(client: SyncHTTPClient) -> None:
    doubled = client.double(np.array([[1, 2]], dtype=np.float32))
    assert (doubled.dtype, doubled.tolist()) == (np.float32, [[2.0, 4.0]])
    assert client.double([[0.5, 1]]).tolist() == [[1.0, 2.0]]
    assert client.words(np.array(["a", "ü"])).tolist() == ["a", "ü"]
    assert client.root_array(np.arange(4).reshape(2, 2)[:, ::-1]).tolist() == [[1, 0], [3, 2]]


def test_tables_come_back_as_tables(client: SyncHTTPClient) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})
    assert client.total(table) == {"a": 3.0, "b": 0.5}
    pd.testing.assert_frame_equal(client.frame(table), table)
    pd.testing.assert_frame_equal(client.columns(frame=table), table)
    pd.testing.assert_frame_equal(client.root_frame(table), table)


def test_a_file_is_a_path_an_open_file_or_bytes(client: SyncHTTPClient, picture: Path) -> None:
    content = picture.read_bytes()
    with picture.open("rb") as opened:
        copies = [client.copy(picture), client.copy(str(picture)), client.copy(opened), client.copy(content)]
    assert [copy.read_bytes() for copy in copies] == [content] * 4
    assert len(set(copies)) == 4
    assert copies[0].suffix == ".png"
    assert client.sizes([picture, picture], ["a", "b"]) == [[len(content)] * 2, ["a", "b"]]
    assert client.sizes(files=[]) == [[], None]
    assert [path.read_bytes() for path in client.pair(picture)] == [content, content]
    folder = copies[0].parent
    client.close()
    assert not folder.exists()


def test_an_image_is_an_image(client: SyncHTTPClient, picture: Path) -> None:
    image = Image.open(picture)
    assert client.size(picture, prefix="a ") == client.size(image, prefix="a ") == "a PNG 3x2"
    assert client.flip(image).size == (3, 2)
    assert client.maybe() is None
    assert client.maybe(image=None) is None
    assert client.maybe(image).getpixel((0, 0)) == (255, 0, 0)


def test_one_value_is_the_whole_body(client: SyncHTTPClient, picture: Path) -> None:
    assert client.root_text('"a"') == '"a"'
    assert client.root_bytes(b"\x00\xff") == b"\x00\xff"
    assert client.root_list([1, 2]) == 3
    assert client.root_model({"x": 1}) == {"x": 1, "label": "here"}
    assert client.root_default() == {"x": 7, "label": "here"}
    assert client.root_image(picture) == client.root_image(Image.open(picture)) == "PNG 3x2"
    assert client.root_file(io.BytesIO(b"abc")).read_bytes() == b"abc"
    with pytest.raises(TypeError, match="exactly one argument, by position"):
        client.root_text(text="a")


def test_bytes_and_text(client: SyncHTTPClient) -> None:
    assert client.raw(b"\x00\xff") == b"\x00\xff"
    assert client.page("a") == "<h1>a</h1>"


def test_streams_are_generators(streams_url: str) -> None:
    with SyncHTTPClient(streams_url) as client:
        assert "".join(client.text(2)) == "line 0\nline 1\n"
        assert b"".join(client.content()) == b"\x00\xff\x01"
        assert list(client.numbers(count=3)) == [0, 1, 2]
        assert [array.tolist() for array in client.arrays()] == [[[1.0, 1.0]], [[0.0], [0.0]]]
        chunks = client.forever()
        assert next(chunks) == "tick\n"
        chunks.close()
        with pytest.raises(BackendUnavailable):
            list(client.text(1, fail=True))


def test_the_asynchronous_client_does_the_same(url: str, streams_url: str, picture: Path) -> None:
    content = picture.read_bytes()

    async def calls() -> None:
        async with AsyncHTTPClient(url) as client:
            assert await client.page(title="a") == "<h1>a</h1>"
            assert (await client.copy(picture)).read_bytes() == content
            assert await asyncio.gather(*(client.root_list([n]) for n in range(5))) == list(range(5))
            assert await client.is_ready()
            with pytest.raises(InvalidInput, match="valid integer"):
                await client.root_list(["a"])
        async with AsyncHTTPClient(streams_url) as client:
            assert [chunk async for chunk in client.numbers(2)] == [0, 1]

    asyncio.run(calls())


def test_the_asynchronous_client_must_be_entered(url: str) -> None:
    client = AsyncHTTPClient(url)
    with pytest.raises(AttributeError, match="async with"):
        _ = client.page
    asyncio.run(client.close())


def test_the_servers_errors_come_back_as_the_same_errors(client: SyncHTTPClient) -> None:
    with pytest.raises(RequestFailed, match="short and stout") as caught:
        client.teapot()
    assert (caught.value.status, caught.value.name) == (418, "Teapot")
    with pytest.raises(InvalidInput) as wrong:
        client.root_list(["a"])
    assert wrong.value.problems
    with pytest.raises(EndpointNotFound, match="'nowhere'"):
        client.call("nowhere")
    with pytest.raises(AttributeError, match="has no API 'nowhere'; its APIs: size, "):
        client.nowhere()
    with pytest.raises(InvalidInput, match="cannot read"):
        client.copy(Path("/nowhere/at/all"))


def test_names_of_its_own_have_a_prefix(client: SyncHTTPClient) -> None:
    assert client.call("page", "a") == client.api_page("a") == "<h1>a</h1>"
    assert "page" in dir(client)
    assert client.request("GET", "/livez").status_code == 200
    assert client.is_ready(timeout=5)


def test_a_server_that_does_not_come_is_given_up() -> None:
    with pytest.raises(BackendUnavailable, match=r"not ready after 0\.3 seconds"):
        SyncHTTPClient("http://127.0.0.1:9", server_ready_timeout=0.3)

    async def enter() -> None:
        async with AsyncHTTPClient("http://127.0.0.1:9", server_ready_timeout=0.3):
            pass

    with pytest.raises(BackendUnavailable, match="not ready"):
        asyncio.run(enter())


def test_a_token_goes_along(url: str) -> None:
    with SyncHTTPClient(url, token="secret") as client:
        assert client.request("GET", "/livez").request.headers["authorization"] == "Bearer secret"


def test_with_bentomls_names_errors_are_bentomls(url: str) -> None:
    class Teapot(bentoml.exceptions.BentoMLException):
        error_code = 418

    with bentoml.SyncHTTPClient(url) as client:
        with pytest.raises(Teapot, match="short and stout"):
            client.teapot()
        with pytest.raises(bentoml.exceptions.InvalidArgument, match="valid integer") as caught:
            client.root_list(["a"])
        assert caught.value.error_code == 400
        with pytest.raises(bentoml.exceptions.NotFound):
            client.call("nowhere")
    with pytest.raises(bentoml.exceptions.ServiceUnavailable, match="not ready"):
        bentoml.SyncHTTPClient("http://127.0.0.1:9", server_ready_timeout=0.1)

    async def calls() -> None:
        async with bentoml.AsyncHTTPClient(url) as client:
            with pytest.raises(bentoml.exceptions.InvalidArgument):
                await client.root_list(["a"])

    asyncio.run(calls())
