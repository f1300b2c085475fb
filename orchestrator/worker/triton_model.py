"""The class that Triton's Python backend drives. Runs only inside its stub process: `triton_python_backend_utils` is there."""

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import triton_python_backend_utils as pb_utils
import uvloop

from orchestrator.engine.answers import HELD_PARAMETER, Answers
from orchestrator.engine.backend import Backend
from orchestrator.engine.board import BOARD_VARIABLE, BoardReader
from orchestrator.engine.composition import BackendService, Run
from orchestrator.engine.heartbeat import TURN_S, Heartbeat
from orchestrator.engine.lifetime import CALL_PARAMETER, Lifetime, lifetime_of
from orchestrator.engine.loops import warn_on_loop
from orchestrator.engine.origin import request_id_of
from orchestrator.errors import CallCancelled, CallError
from orchestrator.sdk import ApiBinding, Definition
from orchestrator.sdk.outgoing import count_calls
from orchestrator.spec import SPEC_FILE, ServiceSpec
from orchestrator.tracing import start_tracing, stop_tracing
from orchestrator.worker.bls import MODEL_CALLS, BlockingBlsBackend, BlsBackend, BlsCalls, BlsModels
from orchestrator.worker.call_counts import CallCounts
from orchestrator.worker.concurrent import Concurrent
from orchestrator.worker.executor import Answer, Check, Executor, Invoke, Prepared, WorkerCall, drive, run_now
from orchestrator.worker.faults import error_text, fault_of
from orchestrator.worker.flow import Flow
from orchestrator.worker.instance import load_definition
from orchestrator.worker.limits import die_first, limit_memory
from orchestrator.worker.running import Running, run_to_end
from orchestrator.worker.source import code_folder
from orchestrator.worker.stub import error_response, instance_index, log_to_stderr

__all__ = ["TritonPythonModel"]

_LOOK_S: Final = 0.05
"""How often running calls are checked for callers that have gone, at the most."""
_LOOK_SHARE: Final = 0.02
"""Of the event loop's time, for that: asking Triton takes 40 us a call, the cancel board 1."""
_LOOK_LONGEST_S: Final = 1.0
"""The most between two checks, also where a busy machine made one of them long."""
_LAST_WORD_S: Final = 1.0
"""How long a caller may take to read the end of a call that nobody waits for: one that does not read knows by itself."""


class TritonPythonModel:
    """One worker: one instance of the user's class."""

    _many: "_Many | None" = None
    _counts: CallCounts | None = None

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the service; whatever this raises, Triton reports as the reason that the model did not load."""
        log_to_stderr(args["model_name"], args["model_instance_name"])
        die_first()
        version = Path(args["model_repository"]) / args["model_version"]
        spec = ServiceSpec.parse((version / SPEC_FILE).read_bytes())
        config = json.loads(args["model_config"])
        os.environ.update(spec.environment)
        start_tracing(spec.name, instance=args["model_instance_name"])
        self._requests = _Requests()
        definition = load_definition(spec, code_folder(version, config))
        calls = BlsCalls() if spec.models or spec.dependencies else None
        index = instance_index(args["model_instance_name"])
        models = BlsModels(calls) if spec.models else None
        self._calls = calls
        self._running = Running(definition, index, models=models, services=_services(definition, calls))
        if spec.concurrent:
            self._many = _Many(self._running, self._requests, composes=calls is not None)
        else:
            run_to_end(self._running.startup())
            self._executor = Executor(self._running)
            self._invoke = self._reported(run_now(self._running.instance))
        if calls is not None:
            calls.start()
            self._counts = CallCounts(spec.metrics.namespace, spec.name)
            count_calls(self._counts)
        if spec.resources.memory_limit_bytes is not None:
            threads = spec.threads + (MODEL_CALLS if calls else 0)
            limit_memory(spec.name, spec.resources.memory_limit_bytes, threads=threads)
        self._beat = Heartbeat()
        if self._many is not None:
            self._many.report(self._beat)
        else:
            self._beat.keep_turning()

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answers a batch; a concurrent worker only takes it, and answers through each request's sender."""
        if self._many is not None:
            self._many.take(requests)
            return None
        self._beat.begin([request.request_id() for request in requests])
        try:
            return self._answered(requests)
        finally:
            self._beat.end()

    def _answered(self, requests: list[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        prepared: list[Prepared] = []
        positions: list[int] = []
        callers = [_Caller(request.is_cancelled) for request in requests]
        for position, (request, caller) in enumerate(zip(requests, callers, strict=True)):
            try:
                prepared.append(self._executor.prepare(self._requests.read(request, caller.gone)))
                positions.append(position)
            except CallError as error:
                responses[position] = _response(error)
        answers = drive(self._executor.run(prepared, self._invoke))
        for position, answer in zip(positions, answers, strict=True):
            responses[position] = _response(answer)
        for caller in callers:
            caller.answered()
        return responses

    def finalize(self) -> None:
        """Runs the shutdown hooks."""
        self._beat.close()
        if self._many is not None:
            self._many.close(self._calls)
        else:
            if self._calls is not None:
                self._calls.stop()
            run_to_end(self._running.shutdown())
        if self._counts is not None:
            self._counts.close()
        stop_tracing()

    def _reported(self, invoke: Invoke) -> Invoke:
        """Calls that are run one after the other are each a piece of work of their own."""

        async def run(binding: ApiBinding, args: tuple[Any, ...], kwargs: dict[str, Any], check: Check) -> Any:
            self._beat.progress()
            return await invoke(binding, args, kwargs, check)

        return run


def _services(definition: Definition, calls: BlsCalls | None) -> dict[str, BackendService]:
    """What calls the services that a class depends on, by attribute."""
    if calls is None:
        return {}
    backend, blocking = BlsBackend(calls), _InPlace(BlockingBlsBackend(calls))
    return {
        attribute: BackendService(dependency.service, backend, blocking)
        for attribute, dependency in definition.dependencies.items()
        if dependency.service is not None
    }


class _InPlace:
    """Coroutines of a worker's sync code, which wait in place (implements `engine.composition.Blocking`)."""

    in_place: Final = True

    def __init__(self, backend: BlockingBlsBackend) -> None:
        self._backend = backend

    def way(self, service: str) -> tuple[Backend, Run]:
        warn_on_loop(service)
        return self._backend, drive


class _Many:
    """A worker with an event loop in a thread of its own, and many calls on it.

    Args:
        composes: it calls others through Triton.
    """

    def __init__(self, running: Running, requests: "_Requests", *, composes: bool) -> None:
        self._running = running
        self._requests = requests
        self._flow = Flow(requests.board)
        decoupled = running.definition.spec.decoupled
        self._holds = composes and decoupled
        # A model that is not decoupled owes every request a response.
        self._received = () if decoupled else (pb_utils.InferenceResponse([]),)
        self._loop = uvloop.new_event_loop()  # as on the front-end; each call of another service changes threads twice
        self._thread = threading.Thread(target=self._loop.run_forever, name="orchestrator-worker", daemon=True)
        self._thread.start()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lifetimes: dict[asyncio.Task[None], Lifetime] = {}
        self._watch: asyncio.Task[None] | None = None
        self._concurrent = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    def report(self, beat: Heartbeat) -> None:
        """From now on it says that its event loop turns, and which calls it has."""
        self._beat = beat
        self._concurrent.working = beat.working
        self._loop.call_soon_threadsafe(self._turn)

    def take(self, requests: Sequence[Any]) -> None:
        """Starts the calls of some requests, in Triton's thread."""
        work = []
        for request in requests:
            sender, request_id = request.get_response_sender(), request.request_id()
            try:
                answers = Answers.to_caller_of(request)
            except Exception as error:  # noqa: BLE001  # whatever it is, the other requests are none the worse for it
                failure = fault_of(error, self._running.definition.spec.name, [request_id])
                sender.send(_response(failure), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                continue
            if answers is None:
                work.append((request_id, partial(self._serve, request, sender)))
                continue
            call: WorkerCall | CallError
            try:
                # Triton may take its tensors back with the final flag.
                call = self._requests.read(request, answers.gone, copied=True)
            except Exception as error:  # noqa: BLE001  # whatever it is, the call must have its end
                call = fault_of(error, self._running.definition.spec.name, [request_id])
            held = None
            if self._holds and isinstance(call, WorkerCall) and call.parameters.get(HELD_PARAMETER):
                held = sender
                sender.send(pb_utils.InferenceResponse([]))
            else:
                # Here and not on the event loop: a caller inside of Triton would wait for ever if we died before.
                sender.send(*self._received, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            work.append((request_id, partial(self._serve_directly, request_id, call, answers, held)))
        self._loop.call_soon_threadsafe(self._begin, work)

    def close(self, calls: BlsCalls | None) -> None:
        """Lets the calls that run come to their end, which may need others, and runs the shutdown hooks."""
        asyncio.run_coroutine_threadsafe(self._stop(calls), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> Concurrent:
        await self._running.startup()
        return Concurrent(self._running)

    async def _stop(self, calls: BlsCalls | None) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if calls is not None:
            calls.stop()
        if self._watch is not None:
            self._watch.cancel()
        self._concurrent.close()
        await self._running.shutdown()

    def _begin(self, work: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, None]]]]) -> None:
        for request_id, serve in work:
            task = self._loop.create_task(self._begun(request_id, serve))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _begun(self, request_id: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        with self._beat.call(request_id):
            await serve()

    def _turn(self) -> None:
        self._beat.turn()
        self._loop.call_later(TURN_S, self._turn)

    async def _serve(self, request: Any, sender: Any) -> None:
        """Answers one request; Triton keeps its tensors until the final flag is sent."""
        final = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
        caller = _Caller(sender.is_cancelled)
        try:
            call = self._requests.read(request, caller.gone)
            lifetime = call.lifetime
            prepared = await self._prepared(call)
            if prepared.binding.spec.stream:
                window = self._flow.window(call.parameters.get(CALL_PARAMETER))
                async with contextlib.aclosing(self._concurrent.stream(prepared)) as answers:
                    async for answer in answers:
                        sender.send(_response(answer))
                        await self._flow.sent(window, answer)
                caller.answered()
                sender.send(flags=final)
            else:
                response = _response(await self._concurrent.call(prepared))
                caller.answered()
                sender.send(response, flags=final)
        except CallError as error:
            caller.answered()
            sender.send(_response(error), flags=final)
        except asyncio.CancelledError:
            ended = lifetime.end() or CallCancelled("the call was cancelled")
            caller.answered()
            sender.send(_response(ended), flags=final)
        except Exception as error:  # noqa: BLE001  # whatever it is, the request must have its end
            caller.answered()
            sender.send(
                _response(fault_of(error, self._running.definition.spec.name, [request.request_id()])), flags=final
            )

    async def _serve_directly(
        self, request_id: str, call: WorkerCall | CallError, answers: Answers, held: Any | None
    ) -> None:
        """Answers one request past Triton, which only hears that it has arrived.

        Args:
            held: the request's sender, where Triton is to hear of the end, too.
        """
        ended: CallError | None = None
        within_s: float | None = None
        try:
            if isinstance(call, CallError):
                raise call
            prepared = await self._prepared(call)
            if prepared.binding.spec.stream:
                async with contextlib.aclosing(self._concurrent.stream(prepared)) as chunks:
                    async for chunk in chunks:
                        await answers.send(chunk.tensors)
                        await self._flow.sent(None, chunk)
            else:
                await answers.send((await self._concurrent.call(prepared)).tensors)
        except CallError as error:
            ended = error
        except asyncio.CancelledError:
            ended = (call.lifetime.end() if isinstance(call, WorkerCall) else None) or CallCancelled("it was cancelled")
            within_s = _LAST_WORD_S
        except Exception as error:  # noqa: BLE001  # whatever it is, the call must have its end
            ended = fault_of(error, self._running.definition.spec.name, [request_id])
        try:
            await answers.end(None if ended is None else error_text(ended), within_s=within_s)
        finally:
            if held is not None:
                held.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    async def _prepared(self, call: WorkerCall) -> Prepared:
        task = asyncio.current_task()
        assert task is not None
        call.lifetime.check()
        self._lifetimes[task] = call.lifetime
        task.add_done_callback(lambda task: self._lifetimes.pop(task, None))
        if self._watch is None:
            self._watch = self._loop.create_task(self._cancel_ended())
        return await self._concurrent.prepare(call)

    async def _cancel_ended(self) -> None:
        """Cancels the calls that nobody waits for any more, as long as there are calls."""
        pause_s = _LOOK_S
        while self._lifetimes:
            await asyncio.sleep(pause_s)
            started = time.perf_counter()
            for task, lifetime in list(self._lifetimes.items()):
                if lifetime.end() is not None:
                    del self._lifetimes[task]  # once: what it does then is its own affair
                    task.cancel()
            pause_s = min(max(_LOOK_S, (time.perf_counter() - started) / _LOOK_SHARE), _LOOK_LONGEST_S)
        self._watch = None


class _Caller:
    """Asks Triton whether a call's caller has gone, but never after the answer.

    Triton ends the whole server with a segmentation fault when it is asked then, and a call's context may outlive the
    call.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answered = False

    def answered(self) -> None:
        """Comes before the final answer."""
        with self._lock:
            self._answered = True

    def gone(self) -> bool:
        with self._lock:
            return not self._answered and bool(self._ask())


class _Requests:
    """Reads Triton's requests."""

    def __init__(self) -> None:
        path = os.environ.get(BOARD_VARIABLE)
        self.board: BoardReader | None = None
        if path:
            with contextlib.suppress(OSError):  # of a Triton that a caller on another machine has started
                self.board = BoardReader(Path(path))

    def read(self, request: Any, gone: Callable[[], bool], *, copied: bool = False) -> WorkerCall:
        """A request.

        Args:
            gone: asks for its caller, where that is on no board.
            copied: its tensors are kept when Triton takes its own back, and `gone` is asked in any case.

        Raises:
            InvalidInput: one of its parameters is not what it should be.
        """
        parameters = json.loads(request.parameters() or "{}")
        lifetime = lifetime_of(parameters, board=self.board, gone=gone)
        if copied:  # its connection says more than the board, which does not hear of a caller that dies
            on_board = lifetime.gone
            lifetime = Lifetime(lifetime.deadline, lambda: on_board() or gone())
        return WorkerCall(
            tensors={
                tensor.name(): tensor.as_numpy().copy() if copied else tensor.as_numpy() for tensor in request.inputs()
            },
            parameters=parameters,
            request_id=request_id_of(parameters, request.request_id()),
            lifetime=lifetime,
        )


def _response(answer: Answer | CallError) -> Any:
    if isinstance(answer, CallError):
        return error_response(answer)
    tensors = [pb_utils.Tensor(name, tensor) for name, tensor in answer.tensors.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)
