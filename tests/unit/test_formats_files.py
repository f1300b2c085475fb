"""The files of a model, and an ONNX file with axes made free."""

import hashlib
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from orchestrator.errors import DefinitionError
from orchestrator.formats import Sample, files_of, free_axes, open_model, read_signature, write_sample
from orchestrator.spec import ModelFormat, NativeModelSpec, StoredFile, digest_of
from tests.onnx_models import linear, save, value

FLOAT = TensorProto.FLOAT


def external(folder: Path, *, rows: int | str = "batch", location: str = "weights.bin") -> Path:
    """`y = x @ w` with `w` of ones in a file of its own."""
    path = linear(folder / "big.onnx", axes=(rows, 4), output=(rows, 3))
    model = onnx.load(path)
    model.graph.initializer[0].raw_data = np.ones((4, 3), dtype=np.float32).tobytes()
    (folder / location).parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def spec_of(path: Path) -> NativeModelSpec:
    signature = read_signature(path, ModelFormat.ONNX)
    return NativeModelSpec(
        attribute="m", name="m", format=ModelFormat.ONNX, file=path.name, signature=signature, files_digest=""
    )


def test_the_digest_is_that_of_the_store(tmp_path: Path) -> None:
    path = linear(tmp_path / "iris.onnx")
    files = files_of(path, ModelFormat.ONNX)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert files.digest == digest_of((StoredFile(path="model.onnx", size=7, sha256=sha256),))
    linear(path, factor=2.0)
    assert files_of(path, ModelFormat.ONNX).digest != files.digest


@pytest.mark.parametrize("location", ["weights.bin", "parts/w.bin"])
def test_external_weights_keep_the_name_that_the_file_knows(tmp_path: Path, location: str) -> None:
    path = external(tmp_path, location=location)
    files = files_of(path, ModelFormat.ONNX)
    assert dict(files.files) == {"model.onnx": path, location: tmp_path / location}
    assert files.file == "model.onnx"
    assert read_signature(path, ModelFormat.ONNX).batched


def test_missing_or_outlying_weights_are_named(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(DefinitionError, match=r"big.onnx: its weights are in weights.bin, which is not beside it"):
        files_of(path, ModelFormat.ONNX)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"../ghts.bin"))
    with pytest.raises(DefinitionError, match=r"its weights are in ../ghts.bin, outside its folder"):
        files_of(path, ModelFormat.ONNX)


def test_a_folder_holds_one_model_file_and_may_hold_a_sample(tmp_path: Path) -> None:
    path = external(tmp_path)
    write_sample(tmp_path / "sample.npz", Sample({"x": np.ones((1, 4), np.float32)}, {}))
    (tmp_path / "README.md").write_text("of no use to Triton")
    files = files_of(tmp_path, ModelFormat.ONNX)
    assert dict(files.files) == {"model.onnx": path, "weights.bin": tmp_path / "weights.bin"}
    assert files.sample == tmp_path / "sample.npz"
    assert files_of(path, ModelFormat.ONNX).sample is None
    linear(tmp_path / "other.onnx")
    with pytest.raises(DefinitionError, match=r"several model files: big.onnx, other.onnx .*name the file itself"):
        files_of(tmp_path, ModelFormat.ONNX)
    assert files_of(tmp_path, ModelFormat.ONNX, file="big.onnx") == files
    linear(tmp_path / "model.onnx")
    assert files_of(tmp_path, ModelFormat.ONNX).files["model.onnx"] == tmp_path / "model.onnx"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nowhere.onnx: there is no such model file"):
        files_of(tmp_path / "nowhere.onnx", ModelFormat.ONNX)
    with pytest.raises(DefinitionError, match=r"no model file \(\*.plan or \*.engine or \*.trt\) in this folder"):
        files_of(tmp_path, ModelFormat.TENSORRT)
    with pytest.raises(DefinitionError, match=r"there is no m.onnx in this folder"):
        files_of(tmp_path, ModelFormat.ONNX, file="m.onnx")


def test_a_python_models_folder_is_the_models_as_a_whole(tmp_path: Path) -> None:
    for name in ("model.py", "config.pbtxt", "labels.txt", "lib/tokens.json", "__pycache__/model.pyc", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    files = files_of(tmp_path, ModelFormat.PYTHON)
    assert (list(files.files), files.file) == (["labels.txt", "lib/tokens.json", "model.py"], "model.py")
    assert list(files_of(tmp_path / "model.py", ModelFormat.PYTHON).files) == ["model.py"]


@pytest.mark.parametrize(
    ("name", "inside"), [("iris.joblib", "iris.joblib"), ("model.json", "original-model.json"), ("a.py", "model.py")]
)
def test_a_frameworks_file_keeps_its_name_but_for_those_that_are_ours(tmp_path: Path, name: str, inside: str) -> None:
    (tmp_path / name).write_text("x")
    files = files_of(tmp_path / name, ModelFormat.PYTHON)
    assert (dict(files.files), files.file) == ({inside: tmp_path / name}, inside)
    assert files_of(tmp_path, ModelFormat.PYTHON, file=name).files == files.files


def test_a_fixed_batch_becomes_free_where_the_model_runs_with_more_rows(tmp_path: Path) -> None:
    path = linear(tmp_path / "one.onnx", axes=(1, 4), output=(1, 3))
    free = free_axes(path, {"x": [0]}, tmp_path / "free")
    assert os.listdir(tmp_path / "free") == ["model.onnx"]
    spec = spec_of(free)
    assert spec.signature.batched
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    w = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.testing.assert_allclose(open_model(free.parent, spec).run({"x": x})["y"], x @ w, rtol=1e-5)
    assert not read_signature(path, ModelFormat.ONNX).batched  # the file itself is as it was


def test_weights_outside_the_file_come_along(tmp_path: Path) -> None:
    free = free_axes(external(tmp_path, rows=1), {"x": {0: "rows"}, "y": {0: "rows"}}, tmp_path / "free")
    assert sorted(os.listdir(tmp_path / "free")) == ["model.onnx", "weights.bin"]
    x = np.ones((2, 4), np.float32)
    assert open_model(free.parent, spec_of(free)).run({"x": x})["y"].tolist() == [[4.0] * 3] * 2


def test_other_axes_become_free_and_those_of_the_outputs_that_follow(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    inputs = [value("a", FLOAT, (1, 6)), value("b", FLOAT, (1, 6))]
    path = save(tmp_path / "m.onnx", nodes, inputs, [value("y", FLOAT, (1, 6))])
    signature = read_signature(free_axes(path, {"a": [0, 1], "b": [0, 1]}, tmp_path / "f"), ModelFormat.ONNX)
    assert {tensor.shape for tensor in (*signature.inputs, *signature.outputs)} == {(-1, -1)}
    assert signature.batched


def test_a_graph_that_has_the_batch_in_it_is_refused(tmp_path: Path) -> None:
    # [1, -1] in the graph: two rows come out as one long one.
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    weights = {"shape": np.array([1, -1])}
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, (1, 2, 2))], [value("y", FLOAT, (1, 4))], weights)
    with pytest.raises(DefinitionError, match=r"with 2 rows 'y' has shape \[1, 8\] \(export the model again"):
        free_axes(path, {"x": [0]}, tmp_path / "free")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, (1, 4))],
        [value("y", FLOAT, (1, 2, 2))],
        {"shape": np.array([1, 2, 2])},
    )
    with pytest.raises(DefinitionError, match="does not run with batch twice as long"):
        free_axes(path, {"x": [0]}, tmp_path / "free")
    assert list((tmp_path / "free").iterdir()) == []


def test_rows_that_depend_on_each_other_are_no_batch(tmp_path: Path) -> None:
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=0)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, (1, 3))], [value("y", FLOAT, (1, 3))])
    with pytest.raises(DefinitionError, match=r"'y' of 2 rows is not what the rows give alone: .* differ"):
        free_axes(path, {"x": [0]}, tmp_path / "free")


def test_axes_and_tensors_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx", axes=(1, 4), output=(1, 3))
    with pytest.raises(DefinitionError, match="dynamic_axes: there is no 'z': it has x, y"):
        free_axes(path, {"z": [0]}, tmp_path / "free")
    with pytest.raises(DefinitionError, match="dynamic_axes: 'x' has 2 axes, no 2"):
        free_axes(path, {"x": [2]}, tmp_path / "free")
