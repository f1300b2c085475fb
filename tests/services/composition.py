"""Services that call services, in every way; `Root` (async) and `SyncRoot` (sync) have the same APIs with the same answers.

    Root, SyncRoot ─┬─ Kinds, Scorer, Talker, Faulty, Noted          leaves
                    ├─ Left (async) ──── Adder                       a diamond
                    ├─ Right (sync) ──── Adder
                    └─ Middle (async) ── Left ── Adder               three below the root

A subclass puts a root somewhere else; its code is the same in all places.
"""

import asyncio
import datetime
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

import orchestrator
from orchestrator.bentoml.exceptions import InternalServerError, NotFound
from orchestrator.errors import InvalidInput, OutputMismatch, RequestFailed, ServiceFault
from orchestrator.validators import Shape


class Teapot(RequestFailed):
    status = 418


class Kettle(Teapot):
    """Wants more than a message."""

    def __init__(self, litres: int, *, colour: str) -> None:
        super().__init__(f"{colour}, {litres} l")


class Point(BaseModel):
    x: int
    label: str = "here"
    day: datetime.date = datetime.date(2024, 2, 29)


@orchestrator.service
class Kinds:
    """Every kind of value; each API gives back what it was given, or says what that was in Python."""

    @orchestrator.api
    def text(self, value: str) -> str:
        return value

    @orchestrator.api
    def integer(self, value: int) -> int:
        return value

    @orchestrator.api
    def number(self, value: float) -> float:
        return value

    @orchestrator.api
    def flag(self, value: bool) -> bool:
        return value

    @orchestrator.api
    def content(self, value: bytes) -> bytes:
        return value

    @orchestrator.api
    def array(self, value: np.ndarray) -> np.ndarray:
        return value

    @orchestrator.api
    def pairs(self, value: Annotated[NDArray[np.float32], Shape((-1, 2))]) -> NDArray[np.float32]:
        return value

    @orchestrator.api
    def zeroed(self, value: NDArray[np.float64]) -> float:
        total = float(value.sum())
        value[:] = 0  # its own copy, wherever it came from
        return total

    @orchestrator.api
    def point(self, value: Point) -> Point:
        return value.model_copy(update={"label": f"{value.label} {value.day.year}"})

    @orchestrator.api
    def points(self, value: list[Point]) -> list[Point]:
        return value

    @orchestrator.api
    def days(self, value: dict[str, datetime.date]) -> dict[str, datetime.date]:
        return value

    @orchestrator.api
    def maybe(self, value: int | None = 7) -> int | None:
        return value

    @orchestrator.api
    def nothing(self) -> None:
        return None

    @orchestrator.api
    def anything(self, value: Any) -> Any:
        return value

    @orchestrator.api
    def image(self, value: Image.Image) -> Image.Image:
        return value.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    @orchestrator.api
    def maybe_image(self, value: Image.Image | None = None) -> Image.Image | None:
        return value

    @orchestrator.api
    def file(self, value: Path) -> Path:
        return value

    @orchestrator.api
    def files(self, value: list[Path]) -> list[Path]:
        return value[::-1]

    @orchestrator.api
    def frame(self, value: pd.DataFrame) -> pd.DataFrame:
        return value.assign(total=value.sum(axis=1, numeric_only=True))

    @orchestrator.api
    def defaults(self, a: int, b: int = 2, *, c: str = "c", d: int = Field(4, ge=0)) -> list[Any]:
        return [a, b, c, d]

    @orchestrator.api
    def spread(self, first: int, *more: int, **named: str) -> list[Any]:
        return [first, list(more), named]

    @orchestrator.api
    def root_text(self, value: str, /) -> str:
        return value


@orchestrator.service
class Scorer:
    """Counts how often it is called, and with how many rows."""

    def __init__(self) -> None:
        self.calls = self.rows = 0

    @orchestrator.api(batchable=True, max_batch_size=8)
    def score(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        self.calls += 1
        self.rows += len(rows)
        return rows * 2

    @orchestrator.api
    def counted(self) -> dict[str, int]:
        return {"calls": self.calls, "rows": self.rows}


@orchestrator.service(threads=2)
class Talker:
    """Streams, async and sync, and an async API."""

    def __init__(self) -> None:
        self.made = self.ended = 0

    @orchestrator.api
    async def echo(self, value: str, wait_s: float = 0) -> str:
        try:
            await asyncio.sleep(wait_s)
        finally:
            self.ended += 1
        return value

    @orchestrator.api
    async def count(self, to: int, pause_s: float = 0) -> AsyncGenerator[int, None]:
        try:
            for number in range(to):
                self.made += 1
                yield number
                await asyncio.sleep(pause_s)
        finally:
            self.ended += 1

    @orchestrator.api
    def letters(self, text: str) -> Iterator[str]:
        yield from text

    @orchestrator.api
    def arrays(self, count: int) -> Iterator[NDArray[np.int16]]:
        for number in range(count):
            yield np.full((number, 2), number, np.int16)

    @orchestrator.api
    async def breaks(self, after: int) -> AsyncGenerator[int, None]:
        for number in range(after):
            yield number
        raise Teapot("in the middle")

    @orchestrator.api
    async def counted(self) -> dict[str, int]:
        return {"made": self.made, "ended": self.ended}


@orchestrator.service
class Faulty:
    """Fails in every way."""

    @orchestrator.api
    def fail(self, how: str) -> int:
        match how:
            case "teapot":
                raise Teapot("short and stout")
            case "kettle":
                raise Kettle(2, colour="red")
            case "not found":
                raise NotFound("no such thing")
            case "internal":
                raise InternalServerError("a secret")
            case "value":
                raise ValueError("a secret")
            case "result":
                return "seven"  # type: ignore[return-value]
            case "input":
                raise InvalidInput.at(["how"], "not so")
            case "exit":
                raise SystemExit(3)
        return 0


@orchestrator.service
class Noted:
    """Takes a context; what it asks of its response is for HTTP callers alone."""

    @orchestrator.api
    def note(self, ctx: orchestrator.Context, text: str = "-") -> dict[str, str]:
        ctx.response.status_code = 202
        ctx.response.headers.append("x-noted", "yes")
        (Path(ctx.temp_dir) / "note.txt").write_text(text)
        return {"text": text, "id": ctx.request.request_id, "method": ctx.request.method}


@orchestrator.service
class Adder:
    @orchestrator.api
    def add(self, a: int, b: int = 1) -> int:
        return a + b


@orchestrator.service
class Left:
    adder = orchestrator.depends(Adder)

    @orchestrator.api
    async def shift(self, x: int) -> int:
        shifted: int = await self.adder.to_async.add(x, 10)
        return shifted


@orchestrator.service
class Right:
    adder = orchestrator.depends(Adder)

    @orchestrator.api
    def double(self, x: int) -> int:
        doubled: int = self.adder.add(x, b=x)
        return doubled


@orchestrator.service
class Middle:
    left = orchestrator.depends("Left")

    @orchestrator.api
    async def twice(self, x: int) -> int:
        twice: int = await self.left.shift(await self.left.to_async.shift(x))
        return twice


class Calls:
    """What both roots depend on; not a service itself."""

    kinds = orchestrator.depends(Kinds)
    scorer = orchestrator.depends(Scorer)
    talker = orchestrator.depends(Talker)
    faulty = orchestrator.depends(Faulty)
    noted = orchestrator.depends(Noted)
    left = orchestrator.depends(Left)
    right = orchestrator.depends(Right)
    middle = orchestrator.depends(Middle)
    adder = orchestrator.depends(Adder)


def shown(array: Any) -> list[Any]:
    return [array.dtype.name, list(array.shape), array.tolist(), array.flags.writeable]


def of_dtype(dtype: str, shape: list[int]) -> Any:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


@orchestrator.service
class Root(Calls):
    """Calls all of them from async methods."""

    @orchestrator.api
    async def sequence(self, x: int) -> int:
        result: int = await self.right.to_async.double(await self.left.shift(x))
        return result

    @orchestrator.api
    async def parallel(self, x: int) -> list[int]:
        return await asyncio.gather(self.left.shift(x), self.right.to_async.double(x), self.middle.twice(x))

    @orchestrator.api
    async def inference_graph(self, x: int) -> list[dict[str, Any]]:
        made = await asyncio.gather(self.left.shift(x), self.right.to_async.double(x))
        scores = [await self.scorer.to_async.score(np.array([[float(each)]])) for each in made]
        return [{"made": each, "score": float(score[0, 0])} for each, score in zip(made, scores, strict=True)]

    @orchestrator.api
    async def blocking(self, x: int) -> int:
        result: int = self.adder.add(x)
        return result

    @orchestrator.api
    async def deep(self, x: int) -> int:
        result: int = await self.middle.twice(x)
        return result

    @orchestrator.api
    async def score(self, rows: list[list[float]]) -> list[list[float]]:
        scored: list[list[float]] = (await self.scorer.to_async.score(np.array(rows))).tolist()
        return scored

    @orchestrator.api
    async def scored(self) -> dict[str, int]:
        counted: dict[str, int] = await self.scorer.to_async.counted()
        return counted

    @orchestrator.api
    async def plain(self, api: str, value: Any) -> list[Any]:
        result = await getattr(self.kinds.to_async, api)(value)
        return [type(result).__name__, result]

    @orchestrator.api
    async def content(self, value: bytes) -> bytes:
        content: bytes = await self.kinds.to_async.content(value)
        return content

    @orchestrator.api
    async def array(self, dtype: str, shape: list[int], transposed: bool = False) -> list[Any]:
        array = of_dtype(dtype, shape)
        return shown(await self.kinds.to_async.array(array.T if transposed else array))

    @orchestrator.api
    async def pairs(self, value: list[list[float]]) -> list[Any]:
        return shown(await self.kinds.to_async.pairs(value))

    @orchestrator.api
    async def large(self, rows: int) -> list[float]:
        array = await self.kinds.to_async.array(np.ones((rows, 1000)))
        array += 1
        return [array.nbytes, float(array.sum())]

    @orchestrator.api
    async def own_copy(self) -> list[float]:
        mine = np.ones(4)
        total = await self.kinds.to_async.zeroed(mine)
        return [total, *mine.tolist()]

    @orchestrator.api
    async def point(self, x: int) -> list[Any]:
        point = await self.kinds.to_async.point(Point(x=x, label="there"))
        points = await self.kinds.to_async.points([{"x": 1}, point])
        days = await self.kinds.to_async.days({"first": point.day})
        return [type(point).__name__, [each.label for each in points], days["first"].month]

    @orchestrator.api
    async def optional(self) -> list[Any]:
        kinds = self.kinds.to_async
        return [
            await kinds.maybe(),
            await kinds.maybe(None),
            await kinds.maybe(3),
            await kinds.nothing(),
            await kinds.maybe_image(),
            await kinds.anything(None),
        ]

    @orchestrator.api
    async def image(self, value: Image.Image) -> Image.Image:
        image: Image.Image = await self.kinds.to_async.image(value)
        return image

    @orchestrator.api
    async def file(self, value: Path) -> Path:
        file: Path = await self.kinds.to_async.file(value)
        return file

    @orchestrator.api
    async def files(self, value: list[Path]) -> list[str]:
        return [file.read_text() for file in await self.kinds.to_async.files(value)]

    @orchestrator.api
    async def frame(self, value: pd.DataFrame) -> pd.DataFrame:
        return await self.kinds.to_async.frame(value)

    @orchestrator.api
    async def arguments(self) -> list[Any]:
        kinds = self.kinds.to_async
        return [
            await kinds.defaults(1),
            await kinds.defaults(1, 3, d=0, junk="left away"),
            await kinds.defaults(c="x", a=5),
            await kinds.spread(1),
            await kinds.spread(1, 2, 3, four="4"),
            await kinds.root_text("ä"),
        ]

    @orchestrator.api
    async def note(self) -> list[dict[str, str]]:
        return [await self.noted.to_async.note(), await self.noted.to_async.note(text="two")]

    @orchestrator.api
    async def collected(self, to: int) -> list[Any]:
        return [
            [number async for number in self.talker.count(to)],
            [letter async for letter in self.talker.letters("abc")],
            [shown(array)[:3] async for array in self.talker.to_async.arrays(3)],
            await self.talker.echo("e"),
        ]

    @orchestrator.api
    async def first(self, of: int) -> list[int]:
        found = []
        async for number in self.talker.count(of, pause_s=0.001):
            found.append(number)
            if len(found) == 3:
                break
        return found

    @orchestrator.api
    async def talked(self) -> dict[str, int]:
        counted: dict[str, int] = await self.talker.counted()
        return counted

    @orchestrator.api
    async def slow(self, wait_s: float) -> str:
        value: str = await self.talker.echo("late", wait_s=wait_s)
        return value

    @orchestrator.api
    async def fail(self, how: str) -> int:
        number: int = await self.faulty.to_async.fail(how)
        return number

    @orchestrator.api
    async def caught(self, how: str) -> str:
        try:
            await self.faulty.to_async.fail(how)
        except (Kettle, NotFound) as error:
            return f"{type(error).__name__} {error.status} {error.message}"
        except (Teapot, InternalServerError, InvalidInput, ServiceFault, OutputMismatch) as error:
            return f"{type(error).__name__} {error.message}"
        return "nothing"

    @orchestrator.api
    async def wrong(self, how: str) -> Any:
        kinds = self.kinds.to_async
        match how:
            case "type":
                return await kinds.integer("seven")
            case "nested":
                return await kinds.points([{"x": 1}, {"x": "one"}])
            case "missing":
                return await kinds.defaults(b=1)
            case "twice":
                return await kinds.defaults(1, a=1)
            case "too many":
                return await kinds.integer(1, 2)
            case "bound":
                return await kinds.defaults(1, d=-1)
            case "rows":
                return (await self.scorer.to_async.score(np.empty((0, 2)))).tolist()
            case "api":
                return await self.kinds.to_async.texts("a")

    @orchestrator.api
    async def broken(self, after: int) -> list[Any]:
        found: list[Any] = []
        try:
            async for number in self.talker.breaks(after):
                found.append(number)
        except Teapot as error:
            found.append(error.message)
        return found

    @orchestrator.api
    async def stream(self, to: int) -> AsyncGenerator[str, None]:
        async for number in self.talker.count(to):
            yield f"<{number}>"

    @orchestrator.api
    async def stream_of_letters(self, text: str) -> AsyncGenerator[str, None]:
        async for letter in self.talker.letters(text):
            yield letter.upper()

    @orchestrator.api
    async def breaking(self, after: int) -> AsyncGenerator[int, None]:
        async for number in self.talker.breaks(after):
            yield number

    @orchestrator.api
    async def endless(self) -> AsyncGenerator[str, None]:
        async for number in self.talker.count(1_000_000, pause_s=0.001):
            yield f"{number}\n"


@orchestrator.service
class SyncRoot(Calls):
    """Calls all of them from sync methods; without a generator of its own, so that its Triton model is a plain one."""

    @orchestrator.api
    def sequence(self, x: int) -> int:
        result: int = self.right.double(self.left.to_sync.shift(x))
        return result

    @orchestrator.api
    def parallel(self, x: int) -> list[int]:
        calls = (self.left.to_sync.shift, self.right.double, self.middle.to_sync.twice)
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda call: call(x), calls))

    @orchestrator.api
    def inference_graph(self, x: int) -> list[dict[str, Any]]:
        made = [self.left.to_sync.shift(x), self.right.double(x)]
        scores = [self.scorer.score(np.array([[float(each)]])) for each in made]
        return [{"made": each, "score": float(score[0, 0])} for each, score in zip(made, scores, strict=True)]

    @orchestrator.api
    def deep(self, x: int) -> int:
        result: int = self.middle.to_sync.twice(x)
        return result

    @orchestrator.api
    def score(self, rows: list[list[float]]) -> list[list[float]]:
        scored: list[list[float]] = self.scorer.score(np.array(rows)).tolist()
        return scored

    @orchestrator.api
    def scored(self) -> dict[str, int]:
        counted: dict[str, int] = self.scorer.counted()
        return counted

    @orchestrator.api
    def plain(self, api: str, value: Any) -> list[Any]:
        result = getattr(self.kinds, api)(value)
        return [type(result).__name__, result]

    @orchestrator.api
    def content(self, value: bytes) -> bytes:
        content: bytes = self.kinds.content(value)
        return content

    @orchestrator.api
    def array(self, dtype: str, shape: list[int], transposed: bool = False) -> list[Any]:
        array = of_dtype(dtype, shape)
        return shown(self.kinds.array(array.T if transposed else array))

    @orchestrator.api
    def pairs(self, value: list[list[float]]) -> list[Any]:
        return shown(self.kinds.pairs(value))

    @orchestrator.api
    def large(self, rows: int) -> list[float]:
        array = self.kinds.array(np.ones((rows, 1000)))
        array += 1
        return [array.nbytes, float(array.sum())]

    @orchestrator.api
    def own_copy(self) -> list[float]:
        mine = np.ones(4)
        return [self.kinds.zeroed(mine), *mine.tolist()]

    @orchestrator.api
    def point(self, x: int) -> list[Any]:
        point = self.kinds.point(Point(x=x, label="there"))
        points = self.kinds.points([{"x": 1}, point])
        days = self.kinds.days({"first": point.day})
        return [type(point).__name__, [each.label for each in points], days["first"].month]

    @orchestrator.api
    def optional(self) -> list[Any]:
        kinds = self.kinds
        return [
            kinds.maybe(),
            kinds.maybe(None),
            kinds.maybe(3),
            kinds.nothing(),
            kinds.maybe_image(),
            kinds.anything(None),
        ]

    @orchestrator.api
    def image(self, value: Image.Image) -> Image.Image:
        image: Image.Image = self.kinds.image(value)
        return image

    @orchestrator.api
    def file(self, value: Path) -> Path:
        file: Path = self.kinds.file(value)
        return file

    @orchestrator.api
    def files(self, value: list[Path]) -> list[str]:
        return [file.read_text() for file in self.kinds.files(value)]

    @orchestrator.api
    def frame(self, value: pd.DataFrame) -> pd.DataFrame:
        return self.kinds.frame(value)

    @orchestrator.api
    def arguments(self) -> list[Any]:
        kinds = self.kinds
        return [
            kinds.defaults(1),
            kinds.defaults(1, 3, d=0, junk="left away"),
            kinds.defaults(c="x", a=5),
            kinds.spread(1),
            kinds.spread(1, 2, 3, four="4"),
            kinds.root_text("ä"),
        ]

    @orchestrator.api
    def note(self) -> list[dict[str, str]]:
        return [self.noted.note(), self.noted.note(text="two")]

    @orchestrator.api
    def collected(self, to: int) -> list[Any]:
        return [
            list(self.talker.to_sync.count(to)),
            list(self.talker.letters("abc")),
            [shown(array)[:3] for array in self.talker.arrays(3)],
            self.talker.to_sync.echo("e"),
        ]

    @orchestrator.api
    def first(self, of: int) -> list[int]:
        found = []
        for number in self.talker.count(of, pause_s=0.001):
            found.append(number)
            if len(found) == 3:
                break
        return found

    @orchestrator.api
    def talked(self) -> dict[str, int]:
        counted: dict[str, int] = self.talker.to_sync.counted()
        return counted

    @orchestrator.api
    def slow(self, wait_s: float) -> str:
        value: str = self.talker.to_sync.echo("late", wait_s=wait_s)
        return value

    @orchestrator.api
    def fail(self, how: str) -> int:
        number: int = self.faulty.fail(how)
        return number

    @orchestrator.api
    def caught(self, how: str) -> str:
        try:
            self.faulty.fail(how)
        except (Kettle, NotFound) as error:
            return f"{type(error).__name__} {error.status} {error.message}"
        except (Teapot, InternalServerError, InvalidInput, ServiceFault, OutputMismatch) as error:
            return f"{type(error).__name__} {error.message}"
        return "nothing"

    @orchestrator.api
    def wrong(self, how: str) -> Any:
        match how:
            case "type":
                return self.kinds.integer("seven")
            case "nested":
                return self.kinds.points([{"x": 1}, {"x": "one"}])
            case "missing":
                return self.kinds.defaults(b=1)
            case "twice":
                return self.kinds.defaults(1, a=1)
            case "too many":
                return self.kinds.integer(1, 2)
            case "bound":
                return self.kinds.defaults(1, d=-1)
            case "rows":
                return self.scorer.score(np.empty((0, 2))).tolist()
            case "api":
                return self.kinds.texts("a")

    @orchestrator.api
    def broken(self, after: int) -> list[Any]:
        found: list[Any] = []
        try:
            for number in self.talker.breaks(after):
                found.append(number)
        except Teapot as error:
            found.append(error.message)
        return found


@orchestrator.service
class SyncStreams(SyncRoot):
    """The same with generators, for which its model answers on streams and its worker has an event loop."""

    @orchestrator.api
    def stream(self, to: int) -> Iterator[str]:
        for number in self.talker.count(to):
            yield f"<{number}>"

    @orchestrator.api
    def stream_of_letters(self, text: str) -> Iterator[str]:
        for letter in self.talker.letters(text):
            yield letter.upper()

    @orchestrator.api
    def breaking(self, after: int) -> Iterator[int]:
        yield from self.talker.breaks(after)

    @orchestrator.api
    def endless(self) -> Iterator[str]:
        for number in self.talker.count(1_000_000, pause_s=0.001):
            yield f"{number}\n"


@orchestrator.service(placement="triton")
class RootInTriton(Root):
    pass


@orchestrator.service(placement="frontend")
class SyncRootInFrontend(SyncRoot):
    pass


@orchestrator.service(placement="frontend")
class SyncStreamsInFrontend(SyncStreams):
    pass
