"""The operator's API of a running server: its versions, and moving them. Served on a Unix socket that only its user may use."""

import asyncio
import base64
import json
import logging
import os
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from orchestrator.deployment import Changed, Deployer, Report, ServiceCode, StepDone
from orchestrator.errors import InvalidInput, OrchestratorError
from orchestrator.server.problems import problem, problem_of
from orchestrator.server.reply import Reply
from orchestrator.spec import ServiceSpec, Tag
from orchestrator.worker.snapshot import Snapshot

__all__ = ["CodeRequest", "create_operator_app"]

logger = logging.getLogger("orchestrator.server")

_LINES: Final = "application/x-ndjson"
Operation = Callable[[Report], Awaitable[list[Changed]]]


class CodeRequest(BaseModel):
    """New code of the service.

    Attributes:
        spec: its document.
        folder: of its module.
        sources: archive of the folder's snapshot, base64.
    """

    spec: dict[str, Any]
    folder: str
    sources: str
    files: int

    @classmethod
    def of(cls, code: ServiceCode) -> "CodeRequest":
        sources = base64.b64encode(code.snapshot.archive).decode()
        spec = json.loads(code.spec.document())
        return cls(spec=spec, folder=str(code.folder), sources=sources, files=code.snapshot.files)

    def code(self) -> ServiceCode:
        """Raises: InvalidInput where the document is not one of this version's."""
        try:
            spec = ServiceSpec.model_validate_json(json.dumps(self.spec))
        except ValidationError as error:
            raise InvalidInput(
                f"the service's document cannot be read: {error.errors()[0]['msg']}",
                hint="the command and the server must be of one version",
            ) from error
        return ServiceCode(spec, Path(self.folder), Snapshot(base64.b64decode(self.sources), self.files))


def create_operator_app(deployer: Deployer, url: str) -> FastAPI:
    """The operator's API.

    `GET /status`; `POST /deploy {"model": "name:version"}`, `POST /deploy-code` and `POST /rollback {"name": ...}` answer
    with a line of JSON for each step (`"kind": "step"`) and each model (`"changed"`), and one of `"kind": "problem"` where
    it came to no good end. What is refused before anything has happened is a problem document, as everywhere.

    Args:
        url: of the front-end.
    """
    app = FastAPI(title="operator", docs_url=None, redoc_url=None, openapi_url=None)
    running: set[asyncio.Task[None]] = set()

    @app.get("/status")
    async def status() -> Response:
        return Response((await deployer.status(url, os.getpid())).model_dump_json(), media_type="application/json")

    @app.post("/deploy")
    async def deploy(model: Annotated[str, Body(embed=True)]) -> Response:
        try:
            tag = Tag.of(model)
        except ValueError as error:
            raise InvalidInput.at(["model"], str(error)) from error
        return await _streamed(lambda report: deployer.deploy_model(tag, report), running)

    @app.post("/deploy-code")
    async def deploy_code(request: CodeRequest) -> Response:
        code = request.code()
        return await _streamed(lambda report: deployer.deploy_code(code, report), running)

    @app.post("/rollback")
    async def rollback(name: Annotated[str, Body(embed=True)]) -> Response:
        return await _streamed(lambda report: deployer.roll_back(name, report), running)

    app.add_exception_handler(OrchestratorError, _refused)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _not_there)
    return app


async def _streamed(operation: Operation, running: set[asyncio.Task[None]]) -> Response:
    """Runs an operation to its end, whether or not anybody still listens, and tells of its steps."""
    told: asyncio.Queue[StepDone | Changed | Reply | None] = asyncio.Queue()

    async def run() -> None:
        try:
            for changed in await operation(told.put_nowait):
                told.put_nowait(changed)
        except OrchestratorError as error:
            told.put_nowait(problem_of(error, uuid.uuid4().hex))
        except Exception:
            request_id = uuid.uuid4().hex
            logger.exception("deployment %s failed", request_id)
            told.put_nowait(problem(500, "internal", "the deployment failed; the server's log explains it", request_id))
        told.put_nowait(None)

    task = asyncio.create_task(run())
    running.add(task)  # the loop itself keeps no task alive
    task.add_done_callback(running.discard)
    first = await told.get()
    if isinstance(first, Reply):
        return _response(first)

    async def lines() -> AsyncGenerator[bytes, None]:
        event: StepDone | Changed | Reply | None = first
        while event is not None:
            yield _line(event)
            event = await told.get()

    return StreamingResponse(lines(), media_type=_LINES)


def _line(event: StepDone | Changed | Reply) -> bytes:
    if isinstance(event, Reply):
        return json.dumps({"kind": "problem", **json.loads(event.body)}).encode() + b"\n"
    return event.model_dump_json().encode() + b"\n"


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, headers={**reply.headers, "Content-Type": str(reply.media_type)})


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, OrchestratorError)
    return _response(problem_of(error, uuid.uuid4().hex))


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return _response(problem(error.status_code, "http", detail, uuid.uuid4().hex))


async def _unreadable(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _response(problem_of(InvalidInput("the request cannot be read", problems=error.errors()), uuid.uuid4().hex))
