"""A model file's requests -> one run of it -> answers. No Triton in here."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import CallError, OutputMismatch
from orchestrator.formats import OpenModel, Sample, check_inputs, compare, from_triton, generate, to_triton
from orchestrator.spec import NativeModelSpec

__all__ = ["ModelCall", "answer", "device_for", "prove", "threads_for", "warm_up"]

Arrays = Mapping[str, NDArray[Any]]
logger = logging.getLogger("orchestrator.worker")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One request.

    Attributes:
        inputs: as Triton has them, batch axis included.
        outputs: names of those that the caller wants.
        request_id: for the log.
    """

    inputs: Arrays
    outputs: tuple[str, ...]
    request_id: str = ""


def answer(model: OpenModel, calls: Sequence[ModelCall]) -> list[Arrays | CallError]:
    """Runs a batch of calls, those together whose shapes allow it; answers in the order of the calls.

    Where a merged run fails its calls are run one by one, so that only the one to blame fails.
    """
    answers: dict[int, Arrays | CallError] = {}
    checked: dict[int, Arrays] = {}
    for position, call in enumerate(calls):
        try:
            checked[position] = check_inputs(model.spec.signature, from_triton(model.spec, call.inputs))
        except CallError as error:
            answers[position] = error
    for group in _groups(model.spec, checked):
        results = _merged(model, [checked[position] for position in group], _wanted(calls, group))
        for position, result in zip(group, results, strict=True):
            if isinstance(result, CallError):
                logger.warning("request %s: %s", calls[position].request_id or "-", result)
                answers[position] = result
            else:
                wanted = {name: result[name] for name in calls[position].outputs}
                answers[position] = to_triton(model.spec, wanted)
    return [answers[position] for position in range(len(calls))]


def _groups(spec: NativeModelSpec, checked: Mapping[int, Arrays]) -> Iterator[list[int]]:
    """Calls that may share a run: the same inputs, of the same shapes but for the rows."""
    if not spec.max_batch_size:
        yield from ([position] for position in checked)
        return
    groups: dict[Any, list[int]] = {}
    for position, arrays in checked.items():
        key = tuple((name, array.shape[1:]) for name, array in arrays.items())
        groups.setdefault(key, []).append(position)
    yield from groups.values()


def _wanted(calls: Sequence[ModelCall], group: Sequence[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for position in group for name in calls[position].outputs))


def _merged(model: OpenModel, parts: Sequence[Arrays], outputs: Sequence[str]) -> list[Arrays | CallError]:
    if len(parts) == 1:
        return [_one(model, parts[0], outputs)]
    rows = [_rows(part) for part in parts]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    result = _one(model, whole, outputs)
    if isinstance(result, CallError):
        return [_one(model, part, outputs) for part in parts]
    ends = np.cumsum(rows)
    return [
        {name: array[end - count : end] for name, array in result.items()}
        for count, end in zip(rows, ends, strict=True)
    ]


def _one(model: OpenModel, arrays: Arrays, outputs: Sequence[str]) -> Arrays | CallError:
    try:
        result = model.run(arrays, outputs)
    except CallError as error:
        return error
    if model.spec.max_batch_size:
        rows = _rows(arrays)
        for name, array in result.items():
            got = len(array) if array.ndim else 0
            if got != rows:
                return OutputMismatch(f"{model.spec.name} was given {rows} rows, and its {name!r} has {got}")
    return result


def _rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def warm_up(model: OpenModel) -> None:
    """Runs the model once with made-up inputs, one row.

    That they may be no valid ones (a length that the network does not take) is no fault of the model's: a failure is
    only noted.
    """
    try:
        model.run(generate(model.spec.signature, 1, seed=0))
    except CallError as error:
        logger.info("%s: no warm-up with generated inputs: %s", model.spec.name, error)


def prove(model: OpenModel, sample: Sample) -> None:
    """Runs the model with its sample.

    Raises:
        OutputMismatch: an output is not the sample's; the message names it and the difference.
        CallError: the model does not take the sample.
    """
    wanted = [name for name in sample.outputs if name in {output.name for output in model.spec.signature.outputs}]
    if not wanted:
        raise OutputMismatch("the sample has none of the model's outputs")
    result = model.run(sample.inputs, wanted)
    for name in wanted:
        different = compare(sample.outputs[name], result[name], model.spec.tolerance)
        if different:
            raise OutputMismatch(f"output {name!r} is not what the model's sample says: {different}")


def threads_for(spec: NativeModelSpec, cores: int) -> int:
    """Threads of one instance: the user's number, or a fair share of this machine's cores."""
    copies = spec.options.instances * max(1, len(spec.options.gpus))
    return spec.options.threads or max(1, cores // copies)


def device_for(spec: NativeModelSpec, index: int) -> int | None:
    """GPU of an instance, in turn; None for the CPU.

    Args:
        index: of the instance, from 1.
    """
    gpus = spec.options.gpus
    return gpus[(index - 1) % len(gpus)] if gpus else None
