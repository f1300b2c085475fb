"""A process of its own: what a service with `cmd` starts. Run as `python upstream.py PORT`; knows nothing of the product."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

seen: dict[str, Any] = {"gone": 0, "chunks": 0}


async def echo(request: Request) -> Response:
    headers = [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw]
    body = await request.body()
    raw = request.scope["raw_path"].decode()
    content = {"method": request.method, "path": raw, "query": request.url.query, "headers": headers}
    return JSONResponse(
        {**content, "body": body.decode("latin-1"), "environment": dict(os.environ), "cwd": os.getcwd()}
    )


async def count(request: Request) -> Response:
    """Sends a number a chunk, without end where none is asked for; the caller's going is seen."""
    most = int(request.query_params.get("to", 10**9))

    async def numbers() -> AsyncIterator[bytes]:
        try:
            for number in range(most):
                yield b"%d\n" % number
                await asyncio.sleep(float(request.query_params.get("pause", 0)))
        except asyncio.CancelledError:
            seen["gone"] += 1
            raise

    return StreamingResponse(numbers(), media_type="text/plain", headers={"connection": "x-own", "x-own": "1"})


async def take(request: Request) -> Response:
    """Counts a body as it comes."""
    length = 0
    seen["chunks"] = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            seen["chunks"] += bool(chunk)
    except ClientDisconnect:
        seen["gone"] += 1
        raise
    return PlainTextResponse(str(length))


async def cookies(_: Request) -> Response:
    response = Response(b"\x1f\x8b not really", headers={"content-encoding": "gzip", "x-request-id": "theirs"})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def status(request: Request) -> Response:
    return Response(status_code=int(request.path_params["code"]))


async def moved(_: Request) -> Response:
    return RedirectResponse("/echo?x=1", 307)


async def wait(request: Request) -> Response:
    await asyncio.sleep(float(request.query_params["s"]))
    return PlainTextResponse("done")


async def end(request: Request) -> Response:
    os._exit(int(request.query_params.get("code", 0)))


async def told(_: Request) -> Response:
    return PlainTextResponse(json.dumps(seen))


async def break_off(_: Request) -> Response:
    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError

    return StreamingResponse(half())


METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]
app = Starlette(
    routes=[
        Route("/count", count),
        Route("/take", take, methods=["POST"]),
        Route("/cookies", cookies),
        Route("/status/{code}", status, methods=METHODS),
        Route("/moved", moved, methods=METHODS),
        Route("/wait", wait),
        Route("/end", end),
        Route("/told", told),
        Route("/break", break_off),
        Route("/echo/{rest:path}", echo, methods=METHODS),
        Route("/echo", echo, methods=METHODS),
        Route("/docs", echo),
    ]
)

if __name__ == "__main__":
    print("upstream starts", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical", lifespan="off")
