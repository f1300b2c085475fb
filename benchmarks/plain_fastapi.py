"""The peer without us: a plain FastAPI application that runs the model in its own process.

python -m benchmarks.plain_fastapi MODEL.joblib     serves on a free loopback port, prints `ready http://...`
"""

import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import joblib
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

__all__ = ["main"]


class Flowers(BaseModel):
    """One row a flower: sepal length, sepal width, petal length, petal width, in cm."""

    input_series: list[list[float]]


def main(model_file: str) -> None:
    """Serves until SIGTERM."""
    model = joblib.load(model_file)
    sock = socket.create_server(("127.0.0.1", 0), backlog=2048)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        print(f"ready http://127.0.0.1:{sock.getsockname()[1]}", flush=True)
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/classify")
    async def classify(flowers: Flowers) -> list[int]:
        species: list[int] = model.predict(np.asarray(flowers.input_series)).tolist()
        return species

    # As our own front-end runs it (orchestrator/cli/frontend.py).
    config = uvicorn.Config(
        app, http="httptools", loop="uvloop", log_level="warning", access_log=False, server_header=False
    )
    uvicorn.Server(config).run(sockets=[sock])


if __name__ == "__main__":
    main(sys.argv[1])
