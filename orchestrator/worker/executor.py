"""Requests -> the user's method -> answers. No Triton in here, and no thread or loop of its own.

Calls of a batchable API that come in together share one call of the method as far as their rows fit; where such a call
fails they are run one by one, so that only the one to blame fails.

A call that nobody waits for any more is answered without running.

How the method is called (here and now, in a thread, awaited) is the `Invoke` that the caller passes in: `run_now` for a
worker that does one thing at a time, `Concurrent` (see `concurrent.py`) for one that does many.
"""

import dataclasses
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from numpy.typing import NDArray

from orchestrator.codec import Layout, row_codec_of
from orchestrator.codec.layout import API_PARAMETER, CONTEXT_PARAMETER
from orchestrator.codec.registry import codec_of
from orchestrator.engine.backend import RunsOn
from orchestrator.engine.lifetime import FOREVER, Lifetime
from orchestrator.engine.origin import running_call_of
from orchestrator.errors import CallError, EndpointNotFound, OutputMismatch
from orchestrator.sdk import ApiBinding
from orchestrator.sdk.arguments import argument_problem, sentence_of
from orchestrator.sdk.context import Context, Request, Response, RunningCall, current_instance, running_call
from orchestrator.tracing import tracing
from orchestrator.worker.faults import fault_of
from orchestrator.worker.running import Running
from orchestrator.worker.scope import Scope, info_of

__all__ = ["Answer", "Executor", "Prepared", "WorkerCall", "drive", "run_now"]

T = TypeVar("T")
_END: Final = object()
Check = Callable[[], None]
"""Raises where nobody waits for the work any more."""
Invoke = Callable[[ApiBinding, tuple[Any, ...], dict[str, Any], Check], Awaitable[Any]]
"""Calls the method; one that makes it wait for its turn asks the `Check` when that comes."""


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """One request as it came in.

    Attributes:
        tensors: by name, batch axis included where the model batches.
        parameters: the request's.
        lifetime: how long somebody waits for the answer.
        runs_on: see `InferRequest`.
    """

    tensors: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any]
    request_id: str
    lifetime: Lifetime = FOREVER
    runs_on: RunsOn | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one call, or one chunk of a stream, as tensors in their own dtype and shape."""

    tensors: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A call whose arguments are the user's own types now.

    Attributes:
        rows: that it adds to a batch; 1 for an API that does not batch.
        scope: to be closed once the answer is made.
        context: for a method that takes one.
        lifetime: how long somebody waits for the answer.
        running: what the calls inherit that the method makes itself.
    """

    binding: ApiBinding
    request_id: str
    arguments: dict[str, Any]
    rows: int
    scope: Scope
    context: Context | None
    lifetime: Lifetime
    running: RunningCall


class Executor:
    """Prepares calls for one instance, runs them, and packs what they return."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._definition = running.definition
        self._layouts = {api.name: Layout.of(self._definition.spec, api) for api in self._definition.spec.methods}

    def prepare(self, call: WorkerCall) -> Prepared:
        """Finds the API and makes its arguments.

        Raises:
            CallError: no such API, an argument that it does not take, or nobody waits any more.
        """
        where = self._definition.spec.name
        scope = Scope()
        try:
            call.lifetime.check()
            binding = self.binding_of(call)
            where = self._where(binding)
            return self._prepared(call, binding, scope)
        except Exception as error:
            scope.failed(error)
            scope.close()
            raise fault_of(error, where, [call.request_id]) from error

    async def run(self, calls: Sequence[Prepared], invoke: Invoke) -> list[Answer | CallError]:
        """Answers every call, in order, and closes their scopes; raises only for cancellation."""
        answers: dict[int, Answer | CallError] = {}
        by_api: dict[str, list[int]] = {}
        for position, call in enumerate(calls):
            by_api.setdefault(call.binding.spec.name, []).append(position)
        try:
            for positions in by_api.values():
                for batch in self._batches(calls, positions):
                    results = await self._run_batch([calls[position] for position in batch], invoke)
                    answers.update(zip(batch, results, strict=True))
        finally:
            for call in calls:
                call.scope.close()
        return [answers[position] for position in range(len(calls))]

    async def chunks(self, call: Prepared, produced: AsyncGenerator[Any, None]) -> AsyncGenerator[Answer, None]:
        """Packs what a stream's method yields, chunk by chunk, and closes the call's scope with it.

        Args:
            produced: the method's own chunks.

        Raises:
            CallError: the method failed, or yielded what its annotation does not allow.
        """
        first = True
        try:
            while (chunk := await self._next(call, produced)) is not _END:
                yield self._answer(call, chunk, with_effects=first)
                first = False
        except CallError as error:
            call.scope.failed(error)
            raise
        except Exception as error:
            call.scope.failed(error)
            raise fault_of(error, self._where(call.binding), [call.request_id]) from error
        finally:
            await produced.aclose()
            call.scope.close()

    async def _next(self, call: Prepared, produced: AsyncGenerator[Any, None]) -> Any:
        """The next chunk, or `_END`. Only meanwhile this is the call that code runs for: others may share its task."""
        token = current_instance.set(self._running.instance)
        call_token = running_call.set(call.running)
        try:
            return await anext(produced, _END)
        finally:
            current_instance.reset(token)
            running_call.reset(call_token)

    def binding_of(self, call: WorkerCall) -> ApiBinding:
        """The API that is called.

        Raises:
            EndpointNotFound: there is none.
        """
        apis = self._definition.apis
        if len(apis) == 1:
            return next(iter(apis.values()))
        # A facade cannot add parameters, but its tensors carry the API's name.
        name = call.parameters.get(API_PARAMETER) or next(iter(call.tensors), "").partition(".")[0]
        if name not in apis:
            raise EndpointNotFound(f"{self._definition.spec.name} has no API {name!r}: it has {', '.join(apis)}")
        return apis[str(name)]

    def _prepared(self, call: WorkerCall, binding: ApiBinding, scope: Scope) -> Prepared:
        plains = self._layouts[binding.spec.name].unpack(call.tensors, call.parameters)
        arguments: dict[str, Any] = {}
        for argument in binding.spec.arguments:
            if argument.name not in plains:
                continue
            plain = plains[argument.name]
            if plain is None and argument.value.nullable:
                arguments[argument.name] = None
                continue
            codec = codec_of(argument.value.kind)
            try:
                arguments[argument.name] = codec.to_python(
                    argument.value, plain, binding.arguments[argument.name], scope
                )
            except ValueError as error:
                raise argument_problem(argument.name, error) from error
        rows = next((len(tensor) for tensor in call.tensors.values()), 1) if binding.spec.batch else 1
        running = self._traced(
            running_call_of(call.parameters, call.request_id, call.lifetime, scope, call.runs_on), binding, scope
        )
        context = None
        if binding.spec.context is not None:
            info = info_of(call.parameters.get(CONTEXT_PARAMETER), call.request_id, running.trace)
            context = Context(Request(info), Response(), self._running.state, scope, call.lifetime)
        arguments = binding.with_defaults(arguments)
        return Prepared(binding, call.request_id, arguments, rows, scope, context, call.lifetime, running)

    def _traced(self, running: RunningCall, binding: ApiBinding, scope: Scope) -> RunningCall:
        """The call as a step of its trace, which the calls that it makes itself belong to."""
        means = tracing()
        if means is None or not binding.spec.route:
            return running
        span = means.start(self._where(binding), running.trace, attributes={"request.id": running.request_id})
        scope.traced(span)
        return dataclasses.replace(running, trace=span.trace)

    def _batches(self, calls: Sequence[Prepared], positions: Sequence[int]) -> Iterator[list[int]]:
        """Calls that may share one call of the method: same arguments given, same shapes and dtypes, rows that fit."""
        binding = calls[positions[0]].binding
        policy = binding.spec.batch
        if policy is None or len(positions) == 1:
            yield from ([position] for position in positions)
            return
        kinds = {a.name: row_codec_of(a.value.kind) for a in binding.spec.arguments}
        groups: dict[Any, list[int]] = {}
        for position in positions:
            arguments = calls[position].arguments
            key = tuple((name, kinds[name].joinable(value, policy.input_axis)) for name, value in arguments.items())
            groups.setdefault(key, []).append(position)
        for group in groups.values():
            batch: list[int] = []
            rows = 0
            for position in group:
                if batch and rows + calls[position].rows > policy.max_batch_size:
                    yield batch
                    batch, rows = [], 0
                batch.append(position)
                rows += calls[position].rows
            yield batch

    async def _run_batch(self, batch: Sequence[Prepared], invoke: Invoke) -> list[Answer | CallError]:
        token = current_instance.set(self._running.instance)
        call_token = running_call.set(_running_of(batch))
        try:
            ended = [call.lifetime.end() for call in batch]
            alive = [call for call, end in zip(batch, ended, strict=True) if end is None]
            answers = iter(await self._run_alive(alive, invoke))
            return [next(answers) if end is None else end for end in ended]
        finally:
            current_instance.reset(token)
            running_call.reset(call_token)

    async def _run_alive(self, batch: Sequence[Prepared], invoke: Invoke) -> Sequence[Answer | CallError]:
        if len(batch) > 1:
            try:
                return await self._run_merged(batch, invoke)
            except Exception:  # noqa: BLE001, S110  # one by one below, where each error is reported once
                pass
        return [await self._run_one(call, invoke) for call in batch]

    async def _run_one(self, call: Prepared, invoke: Invoke) -> Answer | CallError:
        try:
            result = await invoke(call.binding, *call.binding.bind(call.arguments, call.context), call.lifetime.check)
            if call.context is not None:
                call.lifetime.check()  # what it returns once it knows that nobody waits is no answer
            if call.binding.spec.batch is not None:
                self._check_rows(call.binding, result, call.rows)
            return self._answer(call, result)
        except Exception as error:  # noqa: BLE001  # the worker's boundary: the user's code may raise anything
            call.scope.failed(error)
            return fault_of(error, self._where(call.binding), [call.request_id])

    async def _run_merged(self, batch: Sequence[Prepared], invoke: Invoke) -> list[Answer]:
        binding = batch[0].binding
        policy = binding.spec.batch
        if policy is None:
            raise AssertionError("only batchable calls are merged")
        merged = {
            argument.name: row_codec_of(argument.value.kind).join(
                [call.arguments[argument.name] for call in batch], policy.input_axis
            )
            for argument in binding.spec.arguments
            if argument.name in batch[0].arguments
        }
        sizes = [call.rows for call in batch]

        def check() -> None:
            if all(call.lifetime.end() for call in batch):
                batch[0].lifetime.check()

        result = await invoke(binding, *binding.bind(merged, None), check)
        self._check_rows(binding, result, sum(sizes))
        parts = row_codec_of(binding.spec.result.kind).split(result, sizes, policy.output_axis)
        return [self._answer(call, part) for call, part in zip(batch, parts, strict=True)]

    def _check_rows(self, binding: ApiBinding, result: Any, rows: int) -> None:
        policy = binding.spec.batch
        if policy is None:
            return
        try:
            got = row_codec_of(binding.spec.result.kind).count(result, policy.output_axis)
        except (TypeError, ValueError) as error:
            raise OutputMismatch(f"{self._where(binding)} returned no rows: {error}") from error
        if got != rows:
            raise OutputMismatch(f"{self._where(binding)} was given {rows} rows and returned {got}")

    def _answer(self, call: Prepared, result: Any, *, with_effects: bool = True) -> Answer:
        binding = call.binding
        value = binding.spec.result
        layout = self._layouts[binding.spec.name]
        try:
            if result is None and value.nullable:
                packed = layout.pack_result(None)
            else:
                packed = layout.pack_result(codec_of(value.kind).from_python(value, result, binding.result))
        except (TypeError, ValueError) as error:
            raise OutputMismatch(
                f"{self._where(binding)} returned what its annotation does not allow: {sentence_of(error)}"
            ) from error
        tensors = {layout.result_name: packed.tensor}
        if binding.spec.has_effects and (with_effects or packed.hint):
            response = call.context.response if call.context else Response()
            tensors[layout.effects_name] = layout.pack_effects(response.effects(packed.hint))
        return Answer(tensors)

    def _where(self, binding: ApiBinding) -> str:
        return f"{self._definition.spec.name}.{binding.spec.name}"


def _running_of(batch: Sequence[Prepared]) -> RunningCall:
    """What is inherited from calls that share one call of the method: as long as any of them is waited for."""
    first = batch[0].running
    if len(batch) == 1:
        return first
    deadlines = [call.running.deadline for call in batch if call.running.deadline is not None]
    deadline = max(deadlines) if len(deadlines) == len(batch) else None
    return RunningCall(first.request_id, deadline, (), first.trace, first.workspace)  # whose end is none of them alone


def run_now(instance: Any) -> Invoke:
    """Calls sync methods here and now, on the given instance."""

    async def invoke(binding: ApiBinding, args: tuple[Any, ...], kwargs: dict[str, Any], check: Check) -> Any:
        check()  # a call before it in the same batch may have taken its time
        return binding.function(instance, *args, **kwargs)

    return invoke


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine that never really waits, without an event loop (which would cost more than a small model).

    Raises:
        RuntimeError: it waited.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # StopIteration has no type parameter
    coroutine.close()
    raise RuntimeError("a sync worker was asked to wait")
