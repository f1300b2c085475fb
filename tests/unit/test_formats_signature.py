"""What a model file says of itself, and what a user adds."""

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from orchestrator.errors import DefinitionError
from orchestrator.formats import open_model, read_signature
from orchestrator.formats.files import files_of
from orchestrator.spec import DType, ModelFormat, ModelSignature, NativeModelSpec, TensorSpec
from tests.onnx_models import linear, save, value

FLOAT = TensorProto.FLOAT
_found = find_spec("rapidocr")
assert _found
assert _found.origin
RAPIDOCR = Path(_found.origin).parent / "models"


def read(path: Path, **more: Any) -> ModelSignature:
    return read_signature(path, ModelFormat.ONNX, **more)


def shapes(signature: ModelSignature) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for tensor in (*signature.inputs, *signature.outputs)}


def test_names_dtypes_and_shapes_are_those_of_the_file(tmp_path: Path) -> None:
    assert read(linear(tmp_path / "m.onnx")) == ModelSignature(
        inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 4)),),
        outputs=(TensorSpec(name="y", dtype=DType.FP32, shape=(-1, 3)),),
        batched=True,
    )


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.BOOL, DType.BOOL),
        (TensorProto.UINT8, DType.UINT8),
        (TensorProto.UINT16, DType.UINT16),
        (TensorProto.UINT32, DType.UINT32),
        (TensorProto.UINT64, DType.UINT64),
        (TensorProto.INT8, DType.INT8),
        (TensorProto.INT16, DType.INT16),
        (TensorProto.INT32, DType.INT32),
        (TensorProto.INT64, DType.INT64),
        (TensorProto.FLOAT16, DType.FP16),
        (TensorProto.FLOAT, DType.FP32),
        (TensorProto.DOUBLE, DType.FP64),
        (TensorProto.STRING, DType.BYTES),
    ],
)
def test_every_dtype_of_tritons_runs_as_the_signature_says(tmp_path: Path, kind: int, dtype: DType) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", kind, ("n", 2))], [value("y", kind, ("n", 2))])
    signature = read(path)
    assert {tensor.dtype for tensor in (*signature.inputs, *signature.outputs)} == {dtype}
    array = np.array([[b"a", b"b"]], dtype=object) if dtype is DType.BYTES else np.ones((1, 2), dtype=dtype.numpy)
    got = open_model(tmp_path, spec_of(path, signature)).run({"x": array})["y"]
    assert got.dtype == array.dtype
    assert got.tolist() == array.tolist()


def spec_of(path: Path, signature: ModelSignature) -> NativeModelSpec:
    return NativeModelSpec(
        attribute="m", name="m", format=ModelFormat.ONNX, file=path.name, signature=signature, files_digest=""
    )


@pytest.mark.parametrize(("kind", "word"), [(TensorProto.BFLOAT16, "bfloat16"), (TensorProto.COMPLEX64, "complex64")])
def test_a_dtype_that_triton_does_not_have_is_refused_by_name(tmp_path: Path, kind: int, word: str) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, [value("x", kind, ("n", 2))], [value("y", kind, ("n", 2))])
    with pytest.raises(DefinitionError, match=rf"m.onnx: input 'x' is of {word}, .*\(cast it"):
        read(path)


@pytest.mark.parametrize(
    ("axes", "output", "batched"),
    [
        (("batch", 4), ("batch", 3), True),
        ((None, 4), (None, 3), True),
        (("batch", 4), (None, 3), True),
        ((1, 4), (1, 3), False),
        (("batch", 4), (1, 3), False),
        # Another name: it is run to see. The rows of `x @ w` follow those of `x`.
        (("batch", 4), ("made_up", 3), True),
    ],
)
def test_axis_0_is_the_batch_axis_where_it_is_free_and_the_same_throughout(
    tmp_path: Path, axes: tuple[Any, Any], output: tuple[Any, Any], batched: bool
) -> None:
    assert read(linear(tmp_path / "m.onnx", axes=axes, output=output)).batched is batched


def test_an_output_whose_length_has_nothing_to_do_with_the_rows_is_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["t"]), helper.make_node("Transpose", ["t"], ["y"])]
    path = save(
        tmp_path / "m.onnx", nodes, [value("x", FLOAT, ("batch", 4))], [value("y", TensorProto.INT64, ("found", 2))]
    )
    assert read(path).batched is False
    with pytest.raises(DefinitionError, match="do not have as many rows"):
        read(path, batched=True)


def test_inputs_whose_rows_have_different_names_are_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=0)]
    inputs = [value("a", FLOAT, ("left", 2)), value("b", FLOAT, ("right", 2))]
    path = save(tmp_path / "m.onnx", nodes, inputs, [value("y", FLOAT, ("sum", 2))])
    assert read(path).batched is False
    with pytest.raises(DefinitionError, match="do not have as many rows"):
        read(path, batched=True)


def test_a_scalar_output_is_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ("batch", 4))], [value("y", FLOAT, ())])
    signature = read(path)
    assert signature.batched is False
    assert signature.outputs[0].shape == ()


def test_a_user_may_say_that_a_free_axis_is_no_batch(tmp_path: Path) -> None:
    assert read(linear(tmp_path / "m.onnx"), batched=False).batched is False


def test_a_fixed_axis_is_no_batch_whatever_the_user_says(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", axes=(1, 4), output=(1, 3))
    with pytest.raises(DefinitionError, match=r"batched=True, but 'x' has shape \[1, 4\] \(dynamic_axes="):
        read(path, batched=True)


def test_a_graph_input_that_has_its_value_in_the_file_is_no_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    inputs = [value("x", FLOAT, ("n", 4)), value("w", FLOAT, (4, 3))]
    weights = {"w": np.ones((4, 3), dtype=np.float32)}
    path = save(tmp_path / "m.onnx", nodes, inputs, [value("y", FLOAT, ("n", 3))], weights)
    assert [tensor.name for tensor in read(path).inputs] == ["x"]


def test_a_sequence_is_refused_with_the_way_out_and_left_out_on_demand(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("SequenceConstruct", ["y"], ["several"]),
    ]
    several = helper.make_tensor_sequence_value_info("several", FLOAT, ["batch", 3])
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, ("batch", 4))],
        [value("y", FLOAT, ("batch", 3)), several],
        {"w": np.ones((4, 3), dtype=np.float32)},
    )
    with pytest.raises(DefinitionError, match=r"output 'several' is a sequence, .*zipmap.*outputs="):
        read(path)
    assert shapes(read(path, outputs=["y: FP32[-1, 3]"])) == {"x": (-1, 4), "y": (-1, 3)}


def test_the_zipmap_of_skl2onnx_is_refused_with_the_way_out(tmp_path: Path) -> None:
    to_onnx = import_module("skl2onnx").to_onnx
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(x, y)
    path = tmp_path / "m.onnx"
    onnx.save(to_onnx(model, x[:1].astype(np.float32)), path)
    with pytest.raises(DefinitionError, match=r"output 'output_probability' is a sequence.*zipmap"):
        read(path)
    onnx.save(to_onnx(model, x[:1].astype(np.float32), options={"zipmap": False}), path)
    assert shapes(read(path)) == {"X": (-1, 4), "label": (-1,), "probabilities": (-1, 3)}
    assert read(path).batched


def test_a_user_may_fix_axes_that_the_file_leaves_open_but_not_the_other_way(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", axes=("batch", "width"), output=("batch", 3))
    assert shapes(read(path, inputs=["x: FP32[-1, 4]"]))["x"] == (-1, 4)
    assert read(path, inputs=["x: FP32[2, 4]"]).batched is False
    with pytest.raises(DefinitionError, match=r"'y' has shape \[-1, 3\] in the file, not \[-1, -1\] \(dynamic_axes="):
        read(path, outputs=["y: FP32[-1, -1]"])
    with pytest.raises(DefinitionError, match="'x' is FP32 in the file, not INT64"):
        read(path, inputs=["x: INT64[-1, 4]"])
    with pytest.raises(DefinitionError, match="there is no input 'z': it has x"):
        read(path, inputs=["z: FP32[-1, 4]"])


@pytest.mark.parametrize(
    ("text", "tensor"),
    [
        ("x: FP32[-1, 4]", ("x", DType.FP32, (-1, 4))),
        ("INPUT__0:int64[?,3]", ("INPUT__0", DType.INT64, (-1, 3))),
        ("a.b/c : float16 [ 2 ]", ("a.b/c", DType.FP16, (2,))),
        ("s: TYPE_STRING[-1]", ("s", DType.BYTES, (-1,))),
        ("n: BYTES[]", ("n", DType.BYTES, ())),
    ],
)
def test_a_tensor_may_be_written_as_text(tmp_path: Path, text: str, tensor: tuple[str, DType, tuple[int, ...]]) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    signature = read_signature(tmp_path, ModelFormat.TORCHSCRIPT, inputs=[text], outputs=["y: FP32[1]"])
    assert signature.inputs == (TensorSpec(name=tensor[0], dtype=tensor[1], shape=tensor[2]),)
    assert signature.batched is False


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x", "is not a tensor"),
        ("x: FP32", "is not a tensor"),
        ("x: BF16[1]", "Triton has no dtype 'BF16'"),
        ("x: FP32[a]", "a length is a number"),
        ("x: FP32[-2]", "no axis has a length below -1"),
    ],
)
def test_a_text_that_is_no_tensor_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        read(linear(tmp_path / "m.onnx"), inputs=[text])
    with pytest.raises(DefinitionError, match="two tensors of the name 'x'"):
        read(tmp_path / "m.onnx", inputs=["x: FP32[-1, 4]", "x: FP32[-1, 4]"])


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"this is no model\n" * 20])
def test_a_file_that_is_no_onnx_model_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(DefinitionError, match=r"m.onnx: this is not an ONNX (file|model)"):
        read(path)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DefinitionError, match=r"m.onnx: this is not an ONNX (file|model)"):
        read(path)


@pytest.mark.parametrize("format", [ModelFormat.TORCHSCRIPT, ModelFormat.TENSORRT, ModelFormat.PYTHON])
def test_a_file_that_says_nothing_of_its_tensors_needs_a_user_who_does(tmp_path: Path, format: ModelFormat) -> None:
    names = {ModelFormat.TORCHSCRIPT: "model.pt", ModelFormat.TENSORRT: "model.plan", ModelFormat.PYTHON: "model.py"}
    (tmp_path / names[format]).write_text("x")
    with pytest.raises(DefinitionError, match=r"give inputs= and outputs="):
        read_signature(tmp_path, format)
    signature = read_signature(tmp_path, format, inputs=["x: FP32[-1, 4]"], outputs=["y: FP32[-1]"])
    assert signature.batched
    with pytest.raises(DefinitionError, match=r"batched=True, but 'y' has shape \[\]"):
        read_signature(tmp_path, format, inputs=["x: FP32[-1, 4]"], outputs=["y: FP32[]"], batched=True)


CONFIG = """
# a comment
name: "doubler"
backend: "python"
max_batch_size: %d
input [ { name: "text" data_type: TYPE_STRING dims: [ 1 ] optional: true }, { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
output { name: "y" data_type: TYPE_FP16 dims: 2 }
instance_group [ { kind: KIND_CPU count: 2 } ]
parameters { key: "a" value { string_value: "b" } }
dynamic_batching { }
"""


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("size", [0, 8])
def test_a_model_py_is_read_from_the_config_beside_or_above_it(tmp_path: Path, above: bool, size: int) -> None:
    folder = tmp_path / "1" if above else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text("class TritonPythonModel: ...")
    (tmp_path / "config.pbtxt").write_text(CONFIG % size)
    front = (-1,) if size else ()
    assert read_signature(folder / "model.py", ModelFormat.PYTHON) == ModelSignature(
        inputs=(
            TensorSpec(name="text", dtype=DType.BYTES, shape=(*front, 1), optional=True),
            TensorSpec(name="x", dtype=DType.FP32, shape=(*front, -1, 3)),
        ),
        outputs=(TensorSpec(name="y", dtype=DType.FP16, shape=(*front, 2)),),
        batched=bool(size),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("max_batch_size: 8\ninput [ oops", "line 2: the file ends too early"),
        ('max_batch_size: 8\ninput { name: "x"\n', "line 2: '' is no field"),
        ("max_batch_size: many", "invalid literal"),
        ("max_batch_size: 8\n\n% no\n", "line 3: '%' does not belong here"),
        ('input { name: "x" data_type: TYPE_BF16 dims: 1 }', "'x' is of BF16"),
        ('input: "x"', "has no name and data_type"),
        ("input { dims: 1 }", "has no name and data_type"),
        ('name: "\\x"', "unicode error|truncated"),
    ],
)
def test_a_broken_config_is_named_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "model.py").write_text("")
    (tmp_path / "config.pbtxt").write_text(text)
    with pytest.raises(DefinitionError, match=rf"config.pbtxt: this is not a config.pbtxt: .*{problem}"):
        read_signature(tmp_path, ModelFormat.PYTHON)


@settings(max_examples=300)
@given(st.text(alphabet='axu1:{}[]<>",;\n #\\', max_size=30))
def test_any_text_is_a_config_or_is_refused(text: str) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "model.py").write_text("")
        (Path(folder) / "config.pbtxt").write_text(text)
        with suppress(DefinitionError):
            read_signature(Path(folder), ModelFormat.PYTHON)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("PP-OCRv6_det_small.onnx", {"x": (-1, 3, -1, -1), "fetch_name_0": (-1, -1, -1, -1)}),
        ("PP-OCRv6_rec_small.onnx", {"x": (-1, 3, 48, -1), "fetch_name_0": (-1, -1, 18710)}),
        ("ch_ppocr_mobile_v2.0_cls_mobile.onnx", {"x": (-1, 3, -1, -1), "save_infer_model/scale_0.tmp_1": (-1, 2)}),
    ],
)
def test_the_models_of_rapidocr_are_batched(name: str, expected: dict[str, tuple[int, ...]]) -> None:
    signature = read(RAPIDOCR / name)
    assert shapes(signature) == expected
    assert signature.batched


def test_the_files_of_a_model_have_tritons_names(tmp_path: Path) -> None:
    path = linear(tmp_path / "iris.onnx")
    files = files_of(path, ModelFormat.ONNX)
    assert (dict(files.files), files.file, files.sample) == ({"model.onnx": path}, "model.onnx", None)
    assert files_of(tmp_path, ModelFormat.ONNX) == files
