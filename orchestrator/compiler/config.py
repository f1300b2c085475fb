"""The text of config.pbtxt, built with Triton's own protobuf and read back before it is trusted."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.errors import CompileError
from orchestrator.spec import TensorSpec

__all__ = [
    "Config",
    "add_batching",
    "add_instances",
    "config_text",
    "ensemble_config",
    "parse_config",
    "python_config",
]

_HEADER: Final = "# Written by `orchestrator export`; changes here are lost with the next export.\n"
Config = Any
"""`model_config_pb2.ModelConfig`, which has no types."""


def python_config(
    name: str,
    *,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    max_batch_size: int,
    queue_delay_us: int,
    instances: int,
    devices: Mapping[int, int] | None,
    decoupled: bool,
    parameters: Mapping[str, str],
) -> Config:
    """The config of a model run by Triton's Python backend.

    Args:
        inputs: shapes with the batch axis, where `max_batch_size` is not 0.
        outputs: likewise.
        max_batch_size: rows in one request or batch; 0 for a model without a batch axis.
        queue_delay_us: how long the batcher waits for others; only used where the model batches.
        instances: worker processes.
        devices: GPU -> instances on it; None leaves all of them on the CPU.
        decoupled: any number of answers to one request.
        parameters: handed to the worker.
    """
    config = model_config_pb2.ModelConfig(name=name, backend="python", max_batch_size=max_batch_size)
    _add_tensors(config, inputs, outputs)
    if max_batch_size:
        add_batching(config, queue_delay_us)
    add_instances(config, instances, devices)
    if decoupled:
        config.model_transaction_policy.decoupled = True
    for key in sorted(parameters):
        config.parameters[key].string_value = parameters[key]
    return config


def ensemble_config(
    name: str,
    *,
    model: str,
    inputs: Iterable[TensorSpec],
    outputs: Iterable[TensorSpec],
    prefix: str,
    max_batch_size: int,
) -> Config:
    """The config of a facade: one API of a service with several, as a typed Triton model of its own.

    Args:
        model: the service's model.
        inputs: of that model, for this API: names with `prefix`, which the facade leaves off.
        outputs: likewise.
        prefix: `api.`.
    """
    config = model_config_pb2.ModelConfig(name=name, platform="ensemble", max_batch_size=max_batch_size)
    inputs, outputs = list(inputs), list(outputs)

    def plain(tensor: TensorSpec) -> TensorSpec:
        return tensor.model_copy(update={"name": tensor.name.removeprefix(prefix)})

    _add_tensors(config, map(plain, inputs), map(plain, outputs))
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    for tensor in inputs:
        step.input_map[tensor.name] = tensor.name.removeprefix(prefix)
    for tensor in outputs:
        step.output_map[tensor.name] = tensor.name.removeprefix(prefix)
    return config


def add_batching(config: Config, queue_delay_us: int) -> None:
    """Requests that wait join one batch. No queue policy and no priorities: they stall the batcher of Triton 24.10."""
    config.dynamic_batching.SetInParent()
    config.dynamic_batching.max_queue_delay_microseconds = queue_delay_us


def add_instances(config: Config, instances: int, devices: Mapping[int, int] | None) -> None:
    """Instances on the CPU, or on each GPU: device -> how many."""
    groups = model_config_pb2.ModelInstanceGroup
    if devices is None:
        config.instance_group.add(count=instances, kind=groups.KIND_CPU)
    for device, count in sorted((devices or {}).items()):
        config.instance_group.add(count=count, kind=groups.KIND_GPU, gpus=[device])


def config_text(config: Config) -> str:
    """The text form, proved by reading it back.

    Raises:
        CompileError: the text does not say what the message says (a broken file is reported by Triton only as "failed
            to poll").
    """
    text: str = text_format.MessageToString(config)
    if not config.max_batch_size:
        # The text form drops zeros, and Triton may then complete the field to something else.
        text = text.replace("\ninput {", "\nmax_batch_size: 0\ninput {", 1)
    if parse_config(text) != config:
        raise CompileError(f"the config of {config.name} does not survive its text form")
    return _HEADER + text


def parse_config(text: str) -> Config:
    """Reads a config.pbtxt.

    Raises:
        CompileError: with Triton's own reason and the line.
    """
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise CompileError(f"config.pbtxt: {error}") from error


def _add_tensors(config: Config, inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]) -> None:
    batched = config.max_batch_size > 0
    for tensor in inputs:
        dims = tensor.shape[1:] if batched else tensor.shape
        config.input.add(name=tensor.name, data_type=tensor.dtype.config, dims=dims, optional=tensor.optional)
    for tensor in outputs:
        dims = tensor.shape[1:] if batched else tensor.shape
        config.output.add(name=tensor.name, data_type=tensor.dtype.config, dims=dims)
