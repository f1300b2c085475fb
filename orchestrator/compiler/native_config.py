"""The config.pbtxt of a native model: a model file that Triton runs, or our worker in its place."""

from collections.abc import Mapping
from typing import Final

from tritonclient.grpc import model_config_pb2

from orchestrator.compiler.config import Config, add_batching, add_instances
from orchestrator.compiler.repository import Target
from orchestrator.errors import CompileError
from orchestrator.spec import ANY, Accelerator, ModelFormat, NativeModelSpec, TensorSpec

__all__ = ["Shapes", "native_config", "runs_in_our_worker"]

Shapes = Mapping[str, tuple[int, ...]]
"""Of a sample's inputs, by name, batch axis included."""
_BACKENDS: Final[dict[ModelFormat, dict[str, str]]] = {
    ModelFormat.ONNX: {"backend": "onnxruntime"},
    ModelFormat.TENSORRT: {"platform": "tensorrt_plan"},
    ModelFormat.TORCHSCRIPT: {"platform": "pytorch_libtorch"},
    ModelFormat.PYTHON: {"backend": "python"},
}
_THREADS: Final = {
    ModelFormat.ONNX: "intra_op_thread_count",
    ModelFormat.TORCHSCRIPT: "INTRA_OP_THREAD_COUNT",
}
"""Parameter of Triton's backend for a format."""


def runs_in_our_worker(spec: NativeModelSpec, target: Target) -> bool:
    """Whether `worker/native_model.py` runs the file: the container has a backend for every format but a framework's."""
    if spec.format is ModelFormat.PYTHON:
        return bool(spec.framework)
    return target is Target.EMBEDDED


def native_config(spec: NativeModelSpec, target: Target, *, sample: Shapes | None = None) -> Config:
    """The complete config: Triton completes nothing.

    Args:
        sample: inputs that the model is known to take; the shapes of the warm-up.

    Raises:
        CompileError: options that do not go together.
    """
    _check(spec)
    ours = runs_in_our_worker(spec, target)
    backend = {"backend": "python"} if ours else _BACKENDS[spec.format]
    config = model_config_pb2.ModelConfig(name=spec.name, max_batch_size=spec.max_batch_size, **backend)
    if not ours:
        config.default_model_filename = spec.file
    for field, tensors in ((config.input, spec.signature.inputs), (config.output, spec.signature.outputs)):
        for tensor in tensors:
            _add_tensor(spec, field, tensor)
    if spec.max_batch_size:
        add_batching(config, spec.options.queue_delay_us)
    _add_instances(config, spec, target)
    # Disk says which version serves, also after a restart.
    config.version_policy.specific.versions.append(spec.version)
    if spec.options.response_cache:
        config.response_cache.enable = True
    if not ours:
        _add_warmup(config, spec, sample)
        if spec.options.threads and spec.format in _THREADS:
            config.parameters[_THREADS[spec.format]].string_value = str(spec.options.threads)
    if target is Target.CONTAINER and spec.options.accelerator:
        _add_accelerator(config, spec.options.accelerator)
    return config


def _check(spec: NativeModelSpec) -> None:
    accelerator, gpus = spec.options.accelerator, spec.options.gpus
    if accelerator and spec.format is not ModelFormat.ONNX:
        raise CompileError(
            f"model {spec.name!r}: accelerator={accelerator.value!r} is for ONNX, not {spec.format.value}"
        )
    if accelerator is Accelerator.TENSORRT and not gpus:
        raise CompileError(
            f"model {spec.name!r}: accelerator='tensorrt' needs a GPU, and it has none",
            hint="gpus=[0], or accelerator='openvino' for the CPU",
        )
    if accelerator is Accelerator.OPENVINO and gpus:
        raise CompileError(
            f"model {spec.name!r}: accelerator='openvino' is for the CPU, and it has gpus={list(gpus)}",
            hint="leave gpus= out, or say accelerator='tensorrt'",
        )


def _add_tensor(spec: NativeModelSpec, field: Config, tensor: TensorSpec) -> None:
    dims = tensor.shape[1:] if spec.max_batch_size else tensor.shape
    added = field.add(name=tensor.name, data_type=tensor.dtype.config, dims=dims or (1,))
    if tensor.optional:
        added.optional = True
    if not dims and spec.max_batch_size:
        # Triton has no tensor without an axis: clients see [N, 1], the model [N]. Of a scalar it says [1] alone.
        added.reshape.SetInParent()


def _add_instances(config: Config, spec: NativeModelSpec, target: Target) -> None:
    options = spec.options
    # A plan runs on a GPU or not at all.
    gpus = options.gpus or ((0,) if spec.format is ModelFormat.TENSORRT else ())
    if target is Target.EMBEDDED and runs_in_our_worker(spec, target):
        # Workers are processes of the host, and choose their GPU by their number: Triton's own check of GPUs would refuse
        # a machine without one, where onnxruntime falls back to the CPU.
        add_instances(config, options.instances * max(1, len(gpus)), None)
    else:
        add_instances(config, options.instances, dict.fromkeys(gpus, options.instances) or None)


def _add_warmup(config: Config, spec: NativeModelSpec, sample: Shapes | None) -> None:
    """Zeros: random integers may be no valid indices, and random text is not allowed."""
    if not spec.options.warmup:
        return
    shapes = {
        tensor.name: _warm_shape(spec, tensor, (sample or {}).get(tensor.name)) for tensor in spec.signature.inputs
    }
    if any(ANY in shape for shape in shapes.values()):
        return  # a length that the network does not take would keep the model from loading
    warmup = config.model_warmup.add(name="zeros", batch_size=1)
    for tensor in spec.signature.inputs:
        data = warmup.inputs[tensor.name]
        data.data_type = model_config_pb2.DataType.Value(tensor.dtype.config)
        data.dims.extend(shapes[tensor.name])
        data.zero_data = True


def _warm_shape(spec: NativeModelSpec, tensor: TensorSpec, known: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = known if known is not None and len(known) == len(tensor.shape) else tensor.shape
    return (shape[1:] if spec.max_batch_size else shape) or (1,)


def _add_accelerator(config: Config, accelerator: Accelerator) -> None:
    accelerators = config.optimization.execution_accelerators
    if accelerator is Accelerator.TENSORRT:
        added = accelerators.gpu_execution_accelerator.add(name="tensorrt")
        # The backend hands the device on only where there are parameters: without one every GPU would be the first.
        added.parameters["precision_mode"] = "FP32"
    else:
        accelerators.cpu_execution_accelerator.add(name="openvino")
