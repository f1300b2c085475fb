"""The class that Triton's Python backend drives. Runs only inside its stub process: `triton_python_backend_utils` is there."""

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import triton_python_backend_utils as pb_utils

from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    CallError,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
)
from orchestrator.spec import SPEC_FILE, ServiceSpec
from orchestrator.worker.concurrent import Concurrent
from orchestrator.worker.executor import Answer, Executor, Prepared, WorkerCall, drive, run_now
from orchestrator.worker.faults import error_text, fault_of
from orchestrator.worker.instance import load_definition
from orchestrator.worker.running import Running, run_to_end
from orchestrator.worker.source import SERVICE_PATH_VARIABLE

__all__ = ["TritonPythonModel"]

_CODES: Final = (
    (InvalidInput, "INVALID_ARG"),
    (EndpointNotFound, "NOT_FOUND"),
    (Overloaded, "UNAVAILABLE"),
    (BackendUnavailable, "UNAVAILABLE"),
    (CallCancelled, "CANCELLED"),
)
"""Names in `pb_utils.TritonError`, which the stub adds only after it has imported the model."""
_LOOK_AFTER_CALLER_S: Final = 0.1
"""How often a running call is checked for a caller that has gone."""


class TritonPythonModel:
    """One worker: one instance of the user's class."""

    _many: "_Many | None" = None

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the service; whatever this raises, Triton reports as the reason that the model did not load."""
        _log_to_stderr()
        version = Path(args["model_repository"]) / args["model_version"]
        spec = ServiceSpec.parse((version / SPEC_FILE).read_bytes())
        config = json.loads(args["model_config"])
        os.environ.update(spec.environment)
        definition = load_definition(spec, _service_folder(config, Path(args["model_repository"]).parent))
        self._running = Running(definition, _worker_index(args["model_instance_name"]))
        if spec.concurrent:
            self._many = _Many(self._running)
        else:
            run_to_end(self._running.startup())
            self._executor = Executor(self._running)
            self._invoke = run_now(self._running.instance)

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answers a batch; a concurrent worker only takes it, and answers through each request's sender."""
        if self._many is not None:
            self._many.take(requests)
            return None
        responses: list[Any] = [None] * len(requests)
        prepared: list[Prepared] = []
        positions: list[int] = []
        for position, request in enumerate(requests):
            if request.is_cancelled():
                responses[position] = _response(CallCancelled("the caller has gone"))
                continue
            try:
                prepared.append(self._executor.prepare(_call_of(request)))
                positions.append(position)
            except CallError as error:
                responses[position] = _response(error)
        answers = drive(self._executor.run(prepared, self._invoke))
        for position, answer in zip(positions, answers, strict=True):
            responses[position] = _response(answer)
        return responses

    def finalize(self) -> None:
        """Runs the shutdown hooks."""
        if self._many is not None:
            self._many.close()
        else:
            run_to_end(self._running.shutdown())


class _Many:
    """A worker with an event loop in a thread of its own, and many calls on it."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="orchestrator-worker", daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._concurrent = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def take(self, requests: Sequence[Any]) -> None:
        """Starts the calls of some requests, in Triton's thread."""
        work = [(request, request.get_response_sender()) for request in requests]
        self._loop.call_soon_threadsafe(self._begin, work)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> Concurrent:
        await self._running.startup()
        return Concurrent(self._running)

    async def _stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._concurrent.close()
        await self._running.shutdown()

    def _begin(self, work: Sequence[tuple[Any, Any]]) -> None:
        for request, sender in work:
            task = self._loop.create_task(self._serve(request, sender))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, request: Any, sender: Any) -> None:
        """Answers one request; Triton keeps its tensors until the final flag is sent."""
        task = asyncio.current_task()
        assert task is not None
        watch = self._loop.create_task(_cancel_when_gone(sender, task))
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        try:
            if sender.is_cancelled():
                raise CallCancelled("the caller has gone")
            prepared = await self._concurrent.prepare(_call_of(request))
            if prepared.binding.spec.stream:
                async with contextlib.aclosing(self._concurrent.stream(prepared)) as answers:
                    async for answer in answers:
                        sender.send(_response(answer))
                sender.send(flags=final)
            else:
                sender.send(_response(await self._concurrent.call(prepared)), flags=final)
        except CallError as error:
            sender.send(_response(error), flags=final)
        except asyncio.CancelledError:
            sender.send(_response(CallCancelled("the caller has gone")), flags=final)
        except Exception as error:  # noqa: BLE001  # whatever it is, the request must have its end
            sender.send(
                _response(fault_of(error, self._running.definition.spec.name, [request.request_id()])), flags=final
            )
        finally:
            watch.cancel()


async def _cancel_when_gone(sender: Any, task: asyncio.Task[None]) -> None:
    while not sender.is_cancelled():
        await asyncio.sleep(_LOOK_AFTER_CALLER_S)
    task.cancel()


def _call_of(request: Any) -> WorkerCall:
    return WorkerCall(
        tensors={tensor.name(): tensor.as_numpy() for tensor in request.inputs()},
        parameters=json.loads(request.parameters() or "{}"),
        request_id=request.request_id(),
    )


def _response(answer: Answer | CallError) -> Any:
    if isinstance(answer, CallError):
        name = next((name for kind, name in _CODES if isinstance(answer, kind)), "INTERNAL")
        code = getattr(pb_utils.TritonError, name)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(error_text(answer), code))
    tensors = [pb_utils.Tensor(name, tensor) for name, tensor in answer.tensors.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)


def _service_folder(config: dict[str, Any], repository: Path) -> Path:
    given = os.environ.get(SERVICE_PATH_VARIABLE)
    return Path(given) if given else repository / config["parameters"]["service_path"]["string_value"]


def _worker_index(instance_name: str) -> int:
    """`Iris_0_1` is the second instance of its group."""
    match = re.search(r"_(\d+)$", instance_name)
    return int(match[1]) + 1 if match else 1


def _log_to_stderr() -> None:
    """Our own lines, without touching the user's logging; and the user's prints when they come, not at the exit.

    (Triton's stub ignores PYTHONUNBUFFERED, as all of Python's variables.)
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    logger = logging.getLogger("orchestrator")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s [worker %(process)d] %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
