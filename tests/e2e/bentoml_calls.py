"""Calls of our services by BentoML's own clients; run by the Python that has BentoML, not by that of the tests.

    python bentoml_calls.py <url of tests.services.media:Media> <url of tests.services.media:Streams>

Prints one JSON object: name of the call -> what came of it.
"""

import asyncio
import importlib
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

bentoml: Any = importlib.import_module("bentoml")
pandas: Any = importlib.import_module("pandas")
pil: Any = importlib.import_module("PIL.Image")


def told(value: Any) -> Any:
    """A result as JSON, with its type where JSON would hide it."""
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.name}
    if isinstance(value, pandas.DataFrame):
        return {"frame": value.to_dict(orient="records")}
    if isinstance(value, pil.Image):
        return {"image": value.format, "size": list(value.size)}
    if isinstance(value, Path):
        return {"file": value.read_bytes().decode("latin-1"), "suffix": value.suffix}
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    return [told(item) for item in value] if isinstance(value, list) else value


def fault(error: Exception) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error), "code": int(getattr(error, "error_code", 0) or 0)}


def calls(folder: Path, url: str) -> dict[str, Callable[[Any], Any]]:
    """Name -> call of a client, sync or async."""
    image, text = folder / "a.png", folder / "hello.txt"
    pil.new("RGB", (3, 2)).save(image)
    text.write_text("hello")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    remote = f"{url}/docs/static/favicon.png"
    return {
        "json": lambda c: c.mixed(text="7", number=1, flag=True, point={"x": 3}, words=["a", "2"], either=5, file=text),
        "json by position": lambda c: c.spread(1, [2], {"a": "b"}),
        "text": lambda c: c.page(title="ü"),
        "image": lambda c: c.size(image=pil.open(image), prefix="7"),
        "image by path": lambda c: c.size(image),
        "image by path text": lambda c: c.size(str(image)),
        "image by url": lambda c: c.size(image=remote),
        "image result": lambda c: c.flip(image=image),
        "optional image": lambda c: c.maybe(image=image),
        "file": lambda c: c.api_copy(file=text) if hasattr(c, "api_copy") else c.copy(file=text),
        "file result": lambda c: c.report(name="x.csv"),
        "files": lambda c: c.sizes(files=[text, image], labels=["a", "1"]),
        "content type": lambda c: c.song(audio=text),
        "bytes": lambda c: c.raw(data="ü"),
        "array": lambda c: c.double(rows=np.array([[1, 2], [3, 4]])),
        "array of lists": lambda c: c.double(rows=[[1, 2]]),
        "array of text": lambda c: c.words(texts=np.array(["a", "bc"])),
        "frame": lambda c: c.frame(frame=frame),
        "frame by columns": lambda c: c.columns(frame=frame),
        "frame total": lambda c: c.total(frame=frame),
        "root text": lambda c: c.root_text('"quoted"'),
        "root bytes": lambda c: c.root_bytes(b"\x00\xff"),
        "root model": lambda c: c.root_model({"x": 4}),
        "root list": lambda c: c.root_list([1, 2]),
        "root array": lambda c: c.root_array(np.array([1, 2])),
        "root frame": lambda c: c.root_frame(frame),
        "root without a value": lambda c: c.root_default(),
        "invalid": lambda c: c.root_model({"x": "z"}),
        "refused": lambda c: c.teapot(),
        "missing": lambda c: c.page(),
        "unknown": lambda c: c.page(title="x", other=1),
        "no endpoint": lambda c: c.call("nowhere"),
    }


def streams() -> dict[str, Callable[[Any], Any]]:
    return {
        "stream of text": lambda c: c.text(count=2),
        "stream of bytes": lambda c: c.content(),
        "stream of numbers": lambda c: c.numbers(count=2),
        "stream of arrays": lambda c: c.arrays(),
        "stream of events": lambda c: c.events(),
        "stream that breaks": lambda c: c.text(fail=True),
        "stream that fails first": lambda c: c.text(count=0, fail=True),
    }


def sync_calls(folder: Path, media_url: str, streams_url: str) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}
    with bentoml.SyncHTTPClient(media_url) as media, bentoml.SyncHTTPClient(streams_url) as streaming:
        outcomes["ready"] = media.is_ready()
        outcomes["endpoints"] = sorted(media.endpoints)
        outcomes["doc"] = media.endpoints["size"].doc
        # Of these two BentoML's async client sends no body: it does not read files without blocking.
        more = {
            "root file": lambda c: c.root_file(folder / "hello.txt"),
            "root image by url": lambda c: c.root_image(f"{media_url}/docs/static/favicon.png"),
        }
        for name, call in (calls(folder, media_url) | more).items():
            try:
                outcomes[name] = told(call(media))
            except Exception as error:
                outcomes[name] = fault(error)
        for name, call in streams().items():
            try:
                outcomes[name] = [told(chunk) for chunk in call(streaming)]
            except Exception as error:
                outcomes[name] = fault(error)
    return outcomes


async def async_calls(folder: Path, media_url: str, streams_url: str) -> dict[str, Any]:
    outcomes: dict[str, Any] = {}

    async def told_of(name: str, make: Callable[[], Awaitable[Any]]) -> None:
        try:
            outcomes[name] = told(await make())
        except Exception as error:
            outcomes[name] = fault(error)

    async def collected(chunks: Any) -> list[Any]:
        return [told(chunk) async for chunk in chunks]

    async with bentoml.AsyncHTTPClient(media_url) as media, bentoml.AsyncHTTPClient(streams_url) as streaming:
        for name, call in calls(folder, media_url).items():
            await told_of(name, lambda call=call: call(media))  # type: ignore[misc]
        for name, call in streams().items():
            await told_of(name, lambda call=call: collected(call(streaming)))  # type: ignore[misc]
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        media_at, streams_at = sys.argv[1:]
        print(
            json.dumps(
                {
                    "sync": sync_calls(Path(name), media_at, streams_at),
                    "async": asyncio.run(async_calls(Path(name), media_at, streams_at)),
                }
            )
        )
