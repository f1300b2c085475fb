"""Requests -> the user's method -> answers. Pure: no Triton in here.

The calls of a batch come in together. Those of a batchable API share one call of the method as far as their rows fit;
where such a call fails they are run one by one, so that only the one to blame fails.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from orchestrator.codec import Layout, row_codec_of
from orchestrator.codec.layout import API_PARAMETER
from orchestrator.codec.registry import codec_of
from orchestrator.errors import CallError, EndpointNotFound, OutputMismatch
from orchestrator.sdk import ApiBinding, Definition
from orchestrator.worker.faults import fault_of, input_problem

__all__ = ["Answer", "Executor", "WorkerCall"]


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """One request as it came in.

    Attributes:
        tensors: by name, batch axis included where the model batches.
        parameters: the request's.
    """

    tensors: Mapping[str, NDArray[Any]]
    parameters: Mapping[str, Any]
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The one result of one call.

    Attributes:
        name: of the output tensor.
        tensor: in its own dtype and shape.
    """

    name: str
    tensor: NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A call whose arguments are the user's own types now."""

    position: int
    request_id: str
    arguments: dict[str, Any]
    rows: int


class Executor:
    """Runs calls on one instance of the user's class. Not thread-safe: one batch at a time.

    Args:
        definition: the service.
        instance: of its class.
    """

    def __init__(self, definition: Definition, instance: Any) -> None:
        self._definition = definition
        self._instance = instance
        self._layouts = {api.name: Layout.of(definition.spec, api) for api in definition.spec.apis}

    def run(self, calls: Sequence[WorkerCall]) -> list[Answer | CallError]:
        """Answers every call, in order; never raises for what a call or the user's code does."""
        answers: dict[int, Answer | CallError] = {}
        ready: dict[str, list[_Ready]] = {}
        for position, call in enumerate(calls):
            try:
                binding = self._binding(call)
                ready.setdefault(binding.spec.name, []).append(self._decode(position, call, binding))
            except Exception as error:  # noqa: BLE001  # the user's validators and default factories run in there
                answers[position] = fault_of(error, self._definition.spec.name, [call.request_id])
        for name, members in ready.items():
            binding = self._definition.apis[name]
            for batch in self._batches(binding, members):
                answers.update(self._run_batch(binding, batch))
        return [answers[position] for position in range(len(calls))]

    def _binding(self, call: WorkerCall) -> ApiBinding:
        apis = self._definition.apis
        if len(apis) == 1:
            return next(iter(apis.values()))
        # A facade cannot add parameters, but its tensors carry the API's name.
        name = call.parameters.get(API_PARAMETER) or next(iter(call.tensors), "").partition(".")[0]
        if name not in apis:
            raise EndpointNotFound(f"{self._definition.spec.name} has no API {name!r}: it has {', '.join(apis)}")
        return apis[str(name)]

    def _decode(self, position: int, call: WorkerCall, binding: ApiBinding) -> _Ready:
        plains = self._layouts[binding.spec.name].unpack(call.tensors, call.parameters)
        arguments: dict[str, Any] = {}
        for argument in binding.spec.arguments:
            if argument.name in plains:
                codec = codec_of(argument.value.kind)
                try:
                    arguments[argument.name] = codec.to_python(
                        argument.value, plains[argument.name], binding.arguments[argument.name]
                    )
                except ValueError as error:
                    raise input_problem(argument.name, error) from error
        rows = next((len(tensor) for tensor in call.tensors.values()), 1) if binding.spec.batch else 1
        return _Ready(position, call.request_id, binding.with_defaults(arguments), rows)

    def _batches(self, binding: ApiBinding, members: Sequence[_Ready]) -> Iterator[list[_Ready]]:
        """Calls that may share one call of the method: same arguments given, same shapes and dtypes, rows that fit."""
        policy = binding.spec.batch
        if policy is None or len(members) == 1:
            yield from ([member] for member in members)
            return
        kinds = {a.name: row_codec_of(a.value.kind) for a in binding.spec.arguments}
        groups: dict[Any, list[_Ready]] = {}
        for member in members:
            key = tuple((name, kinds[name].joinable(value, policy.input_axis)) for name, value in member.arguments.items())
            groups.setdefault(key, []).append(member)
        for group in groups.values():
            batch: list[_Ready] = []
            rows = 0
            for member in group:
                if batch and rows + member.rows > policy.max_batch_size:
                    yield batch
                    batch, rows = [], 0
                batch.append(member)
                rows += member.rows
            yield batch

    def _run_batch(self, binding: ApiBinding, batch: list[_Ready]) -> Iterator[tuple[int, Answer | CallError]]:
        if len(batch) > 1:
            try:
                results = self._call_merged(binding, batch)
            except Exception:  # noqa: BLE001  # one by one below, where each error is reported once
                pass
            else:
                yield from zip((member.position for member in batch), results, strict=True)
                return
        for member in batch:
            try:
                yield member.position, self._call_one(binding, member)
            except Exception as error:  # noqa: BLE001  # the worker's boundary: the user's code may raise anything
                yield member.position, fault_of(error, self._where(binding), [member.request_id])

    def _call_one(self, binding: ApiBinding, member: _Ready) -> Answer:
        result = binding.function(self._instance, **member.arguments)
        policy = binding.spec.batch
        if policy is not None:
            self._check_rows(binding, result, member.rows)
        return self._answer(binding, result)

    def _call_merged(self, binding: ApiBinding, batch: list[_Ready]) -> list[Answer]:
        policy = binding.spec.batch
        if policy is None:
            raise AssertionError("only batchable calls are merged")
        merged = {
            argument.name: row_codec_of(argument.value.kind).join(
                [member.arguments[argument.name] for member in batch], policy.input_axis
            )
            for argument in binding.spec.arguments
            if argument.name in batch[0].arguments
        }
        sizes = [member.rows for member in batch]
        result = binding.function(self._instance, **merged)
        self._check_rows(binding, result, sum(sizes))
        codec = row_codec_of(binding.spec.result.kind)
        return [self._answer(binding, part) for part in codec.split(result, sizes, policy.output_axis)]

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

    def _answer(self, binding: ApiBinding, result: Any) -> Answer:
        value = binding.spec.result
        layout = self._layouts[binding.spec.name]
        try:
            tensor = layout.pack_result(codec_of(value.kind).from_python(value, result, binding.result))
        except (TypeError, ValueError) as error:
            raise OutputMismatch(f"{self._where(binding)} returned what its annotation does not allow: {error}") from error
        return Answer(layout.result_name, tensor)

    def _where(self, binding: ApiBinding) -> str:
        return f"{self._definition.spec.name}.{binding.spec.name}"


