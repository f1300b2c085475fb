"""What a model takes and gives, as its file says or as the user does."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import DefinitionError
from orchestrator.formats import onnx_graph, python_model, tensorrt_engine
from orchestrator.formats.batch_axis import rows_follow
from orchestrator.formats.files import main_file
from orchestrator.formats.onnx_graph import GraphTensor
from orchestrator.formats.tensors import Given, fits, tensors_of
from orchestrator.spec import ANY, ModelFormat, ModelSignature, TensorSpec

__all__ = ["read_signature"]

_WIDER = "dynamic_axes= makes an axis free that the file has fixed, where the model really runs with other lengths"


def read_signature(
    path: Path,
    format: ModelFormat,
    *,
    inputs: Given | None = None,
    outputs: Given | None = None,
    batched: bool | None = None,
    file: str | None = None,
) -> ModelSignature:
    """The signature of a model file.

    Names, dtypes and shapes come from the file where it has them (ONNX, TensorRT, a `config.pbtxt` beside a
    `model.py`); there `inputs` and `outputs` may fix axes that the file leaves open, and `outputs` says which ones to
    keep. Otherwise they must be given.

    A model is batched where axis 0 is free in every input and output, and the inputs' is the same. Where the file names
    an output's axis differently, the model is run with 2 and 3 rows to see (onnxruntime; without it: not batched).

    Args:
        path: the model file, or the folder that holds it.
        inputs: `TensorSpec`s, or text such as `x: FP32[-1, 4]`.
        outputs: likewise.
        batched: what the user knows of axis 0; it wins, unless the model itself proves otherwise.
        file: name of the main file in a folder that holds several.

    Raises:
        DefinitionError: the file is not of this format, says too little, or says what Triton does not have.
    """
    main = main_file(path, format, file=file)
    given = (tensors_of(inputs or ()), tensors_of(outputs or ()))
    match format:
        case ModelFormat.ONNX:
            return _onnx(main, *given, batched)
        case ModelFormat.TENSORRT if not all(given):
            found = tensorrt_engine.read_tensors(main)
        case ModelFormat.PYTHON if not all(given):
            found = python_model.read_tensors(main)
        case ModelFormat.TORCHSCRIPT if not all(given):
            raise DefinitionError(
                "a TorchScript file does not say what its inputs and outputs are",
                file=str(main),
                hint="give inputs= and outputs=, by position: inputs=['INPUT__0: FP32[-1, 4]'], outputs=['OUTPUT__0: ...']",
            )
        case _:
            found = given
    return _signature(main, _merged(main, "input", found[0], given[0]), _kept(main, found[1], given[1]), batched)


def _onnx(
    main: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool | None
) -> ModelSignature:
    graph_inputs, graph_outputs = onnx_graph.read_graph(main)
    if outputs:
        wanted = {tensor.name for tensor in outputs}
        # Those that are not kept may be of any type.
        graph_outputs = tuple(tensor for tensor in graph_outputs if tensor.name in wanted)
    found = [_spec(main, tensor) for tensor in graph_inputs], [_spec(main, tensor) for tensor in graph_outputs]
    taken = _merged(main, "input", found[0], inputs)
    kept = _kept(main, found[1], outputs)
    symbols = {tensor.axes[0] for tensor in graph_inputs if tensor.axes}
    others = {tensor.axes[0] for tensor in graph_outputs if tensor.axes}
    free = all(tensor.shape and tensor.shape[0] == ANY for tensor in (*taken, *kept))
    if batched is False or not (free or batched):
        return _signature(main, taken, kept, batched=False)
    signature = _signature(main, taken, kept, batched=True)
    names = symbols - {None}
    if len(names) <= 1 and others - {None} <= names:
        return signature
    if batched is None and len(names) > 1:
        return signature.model_copy(update={"batched": False})
    proved = rows_follow(main, signature)
    if proved is False and batched:
        raise DefinitionError(
            "batched=True, but its outputs do not have as many rows as its inputs", file=str(main), hint="batched=False"
        )
    return signature.model_copy(update={"batched": proved or bool(batched)})


def _spec(main: Path, tensor: GraphTensor) -> TensorSpec:
    try:
        return tensor.spec()
    except DefinitionError as error:
        raise DefinitionError(error.message, file=str(main), hint=error.hint) from None


def _merged(main: Path, use: str, found: Sequence[TensorSpec], given: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """What the file says, with the axes fixed that the user fixes."""
    by_name = {tensor.name: tensor for tensor in given}
    names = [tensor.name for tensor in found]
    for tensor in given:
        if tensor.name not in names:
            raise DefinitionError(f"there is no {use} {tensor.name!r}: it has {', '.join(names)}", file=str(main))
    return tuple(_narrowed(main, tensor, by_name.get(tensor.name, tensor)) for tensor in found)


def _kept(main: Path, found: Sequence[TensorSpec], given: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    merged = _merged(main, "output", found, given)
    wanted = {tensor.name for tensor in given}
    return tuple(tensor for tensor in merged if not wanted or tensor.name in wanted)


def _narrowed(main: Path, found: TensorSpec, given: TensorSpec) -> TensorSpec:
    if found.dtype is not given.dtype:
        raise DefinitionError(f"{found.name!r} is {found.dtype} in the file, not {given.dtype}", file=str(main))
    if not fits(given.shape, found.shape):
        raise DefinitionError(
            f"{found.name!r} has shape {list(found.shape)} in the file, not {list(given.shape)}",
            file=str(main),
            hint=_WIDER,
        )
    return given


def _signature(
    main: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], batched: bool | None
) -> ModelSignature:
    for use, tensors in (("inputs", inputs), ("outputs", outputs)):
        if not tensors:
            raise DefinitionError(f"the model has no {use}", file=str(main))
    fixed = [tensor for tensor in (*inputs, *outputs) if not tensor.shape or tensor.shape[0] != ANY]
    if batched and fixed:
        raise DefinitionError(
            f"batched=True, but {fixed[0].name!r} has shape {list(fixed[0].shape)}", file=str(main), hint=_WIDER
        )
    return ModelSignature(
        inputs=tuple(inputs), outputs=tuple(outputs), batched=not fixed if batched is None else batched
    )
