"""ONNX to a TensorRT plan, by TensorRT's Python package or by `trtexec`, on the GPU that will run it."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from converters.onnx_source import OnnxSource, is_onnx, load_onnx, opened_onnx
from converters.packages import need
from converters.switches import switch
from converters.tolerances import float16_tolerance
from orchestrator.errors import ConversionError
from orchestrator.spec.conversion import Converted
from orchestrator.spec.model import ModelFormat
from orchestrator.spec.tensors import ANY

__all__ = ["OnnxToTensorRT", "profile_of"]

_FILE: Final = "model.plan"
_ROWS: Final = 64
"""Rows of a model's largest batch, unless it says otherwise: `NativeModelSpec.max_batch_size`."""
_LEAST_ROWS: Final = 17
"""The comparison with the original sends as many."""
_ADVICE: Final = (
    'serve the ONNX file with models.Onnx(..., accelerator="tensorrt"): '
    "onnxruntime then builds the engine itself, on the GPU where the model runs"
)
Lengths = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Shapes of an input: the smallest, the one to be fast at, the largest."""


class OnnxToTensorRT:
    """The plan has the inputs and outputs of the ONNX file. It runs only on the kind of GPU that it was built on."""

    source = "onnx"
    target = "tensorrt"
    description = "an ONNX file, on the GPU that will run it"
    options: Mapping[str, str] = {
        "float16": "layers may compute in float16",
        "max_batch_size": f"rows of the largest batch, {_ROWS} unless given",
        "longest": "length of every other free axis at most; four times the sample's unless given",
    }

    def matches(self, model: object) -> bool:
        return is_onnx(model)

    def load(self, path: Path) -> object:
        return load_onnx(path)

    def convert(
        self,
        model: Any,
        folder: Path,
        *,
        sample: Mapping[str, NDArray[Any]] | Sequence[NDArray[Any]] | NDArray[Any] | None = None,
        options: Mapping[str, Any] = {},
    ) -> Converted:
        trtexec = shutil.which("trtexec")
        missing = [
            what for what, there in (("TensorRT", find_spec("tensorrt") or trtexec), ("GPU", _has_gpu())) if not there
        ]
        if missing:
            raise ConversionError(
                f"a TensorRT plan is built on the GPU that will run it, and there is no {' and no '.join(missing)} here",
                hint=_ADVICE,
            )
        half = switch(options, "float16")
        source = opened_onnx(model, sample)
        rows = max(_whole(options, "max_batch_size") or _ROWS, _LEAST_ROWS)
        profile = profile_of(source, rows, _whole(options, "longest"))
        if find_spec("tensorrt"):
            _build(source, folder / _FILE, profile, half=half)
        else:
            assert trtexec is not None
            _run_trtexec(trtexec, source, folder / _FILE, profile, half=half)
        lengths = "; ".join(f"{name} {_shape(low)} to {_shape(high)}" for name, (low, _, high) in profile.items())
        return Converted(
            format=ModelFormat.TENSORRT,
            file=_FILE,
            signature=source.signature,
            original=source.run,
            sample={name: array[:rows] if source.signature.batched else array for name, array in source.sample.items()},
            tolerance=float16_tolerance(source.scale) if half else None,
            notes=(f"shapes: {lengths}",) if profile else (),
        )


def profile_of(source: OnnxSource, rows: int, longest: int | None) -> dict[str, Lengths]:
    """Shapes of the inputs that have a free axis."""
    found: dict[str, Lengths] = {}
    for spec in source.signature.inputs:
        if ANY not in spec.shape:
            continue
        seen = source.sample[spec.name].shape
        batch = {0} if source.signature.batched else set()
        largest = {axis: rows if axis in batch else longest or 4 * seen[axis] for axis in range(len(seen))}
        low, best, high = (
            tuple(lengths[axis] if length == ANY else length for axis, length in enumerate(spec.shape))
            for lengths in (
                dict.fromkeys(range(len(seen)), 1),
                {axis: min(8, rows) if axis in batch else min(seen[axis], largest[axis]) for axis in range(len(seen))},
                largest,
            )
        )
        found[spec.name] = (low, best, high)
    return found


def _build(source: OnnxSource, plan: Path, profile: Mapping[str, Lengths], *, half: bool) -> None:
    tensorrt = need("tensorrt")
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    # Until TensorRT 10 a network had to be asked to have a batch axis.
    explicit = getattr(tensorrt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
    network = builder.create_network(0 if explicit is None else 1 << int(explicit))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(source.proto.SerializeToString()):
        reasons = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise ConversionError(f"TensorRT does not take this model: {reasons[:500]}", hint=_ADVICE)
    config = builder.create_builder_config()
    # TF32 keeps 10 bits of a float32: not what a conversion that was not asked for it may do.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if half:
        config.set_flag(tensorrt.BuilderFlag.FP16)
    if profile:
        shapes = builder.create_optimization_profile()
        for name, lengths in profile.items():
            shapes.set_shape(name, *lengths)
        config.add_optimization_profile(shapes)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise ConversionError("TensorRT built no plan; its own messages above say why", hint=_ADVICE)
    plan.write_bytes(bytes(built))


def _run_trtexec(trtexec: str, source: OnnxSource, plan: Path, profile: Mapping[str, Lengths], *, half: bool) -> None:
    onnx = need("onnx")
    file = plan.with_suffix(".onnx")
    onnx.save(source.proto, file)
    command = [trtexec, f"--onnx={file}", f"--saveEngine={plan}", "--noTF32", "--skipInference"]
    if half:
        command.append("--fp16")
    for index, flag in enumerate(("minShapes", "optShapes", "maxShapes")):
        if profile:
            command.append(f"--{flag}=" + ",".join(f"{name}:{_shape(each[index])}" for name, each in profile.items()))
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        file.unlink()
    if ran.returncode or not plan.is_file():
        lines = [line for line in (ran.stdout + ran.stderr).splitlines() if "[E]" in line]
        raise ConversionError(f"trtexec built no plan: {'; '.join(lines)[:500] or ran.returncode}", hint=_ADVICE)


def _shape(lengths: tuple[int, ...]) -> str:
    return "x".join(map(str, lengths))


def _whole(options: Mapping[str, Any], name: str) -> int | None:
    if name not in options:
        return None
    try:
        found = int(options[name])
    except (TypeError, ValueError):
        found = 0
    if found < 1:
        raise ConversionError(f"{name}={options[name]!r} is not a whole number from 1 on")
    return found


def _has_gpu() -> bool:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
