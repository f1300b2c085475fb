"""Converters found through entry points, and what a conversion leaves behind: the model, or nothing and a reason."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from converters.sklearn_onnx import SklearnToOnnx
from orchestrator.conversion import (
    ParityError,
    convert,
    converter_for,
    converters,
    find_converter,
)
from orchestrator.errors import ConversionError
from orchestrator.formats import read_sample, write_sample
from orchestrator.spec import Converted, ParityReport, Tolerance

OURS = {
    ("huggingface", "onnx"),
    ("keras", "onnx"),
    ("lightgbm", "onnx"),
    ("onnx", "onnx"),
    ("onnx", "tensorrt"),
    ("sentence_transformers", "onnx"),
    ("sklearn", "onnx"),
    ("tensorflow", "onnx"),
    ("torch", "onnx"),
    ("xgboost", "onnx"),
}
RANDOM = np.random.default_rng(0)


def register(monkeypatch: pytest.MonkeyPatch, folder: Path, **entries: str) -> None:
    """Makes entry points as an installed package has them."""
    info = folder / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    lines = "\n".join(f"{name} = {target}" for name, target in entries.items())
    (info / "entry_points.txt").write_text(f"[orchestrator.converters]\n{lines}\n")
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def damaging(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("RelabelsOpset", "SwapsOutputs", "SwapsClassifier", "TransposesWeights")
    register(
        monkeypatch,
        tmp_path / "site",
        **{name: f"tests.services.damaging_converters:{name}" for name in names},
    )


def graph(*nodes: Any, inputs: Mapping[str, list[Any]], outputs: Mapping[str, list[Any]], opset: int = 17) -> Any:
    """A float32 ONNX model."""

    def values(tensors: Mapping[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]

    made = helper.make_graph(list(nodes), "g", values(inputs), values(outputs))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_all_of_ours_are_found() -> None:
    found = converters()
    assert {(each.source, each.target) for each in found} >= OURS
    for each in found:
        assert each.description
        assert all(each.options.values())
        assert find_converter(each.source, each.target).description == each.description


def test_a_third_partys_converter_is_equal_to_ours(damaging: None) -> None:
    assert find_converter("swapped", "onnx").target == "onnx"


def test_a_broken_third_party_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "raises_on_import.py").write_text("raise RuntimeError('half installed')\n")
    (tmp_path / "half_done.py").write_text("class Half:\n    source = 'x'\n    target = 'onnx'\n")
    register(monkeypatch, tmp_path, bad="raises_on_import:Converter", half="half_done:Half", gone="no_such_module:C")
    with caplog.at_level(logging.WARNING):
        assert {(each.source, each.target) for each in converters()} >= OURS
    lines = [record.getMessage() for record in caplog.records]
    assert "converter 'bad' of third-party is left out: RuntimeError: half installed" in lines
    assert (
        "converter 'half' of third-party is left out: it has no description, options, matches, load, convert" in lines
    )
    assert any(line.startswith("converter 'gone' of third-party is left out: ModuleNotFoundError") for line in lines)


def test_a_pair_that_there_is_not_lists_what_there_is() -> None:
    with pytest.raises(ConversionError, match="there is no converter from 'mxnet' to 'onnx'") as caught:
        find_converter("mxnet", "onnx")
    assert caught.value.hint
    assert "sklearn -> onnx" in caught.value.hint


def test_an_object_has_its_converter_and_another_has_none() -> None:
    assert converter_for(LogisticRegression(), "onnx").source == "sklearn"
    assert converter_for(graph(inputs={}, outputs={}), "onnx").source == "onnx"
    for thing in (object(), 3, np.zeros(3), "model.onnx"):
        with pytest.raises(ConversionError, match="no converter takes a "):
            converter_for(thing, "onnx")


@pytest.fixture(scope="module")
def iris() -> tuple[Any, Any, LogisticRegression]:
    table, species = load_iris(return_X_y=True)
    return table, species, LogisticRegression(max_iter=200).fit(table, species)


def test_a_conversion_is_a_folder_a_report_and_a_proof(iris: Any, tmp_path: Path) -> None:
    table, _, model = iris
    told: list[str] = []
    done = convert(model, converter_for(model, "onnx"), tmp_path / "made", sample=table, progress=told.append)
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["model.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert told == ["converting sklearn to onnx", "comparing the converted model with the original"]
    assert done.report.passed
    assert ParityReport.parse(done.report.document()) == done.report
    assert {name: array.dtype.name for name, array in done.sample.outputs.items()} == {
        "label": "int64",
        "probabilities": "float32",
    }
    write_sample(tmp_path / "sample.npz", done.sample)
    assert read_sample(tmp_path / "sample.npz").inputs["X"].shape == (8, 4)
    assert np.allclose(done.sample.outputs["probabilities"], model.predict_proba(table[:8]), atol=1e-6)


def test_an_empty_folder_may_be_there_and_a_full_one_may_not(iris: Any, tmp_path: Path) -> None:
    table, _, model = iris
    (tmp_path / "empty").mkdir()
    convert(model, SklearnToOnnx(), tmp_path / "empty", sample=table)
    before = (tmp_path / "empty" / "model.onnx").read_bytes()
    with pytest.raises(ConversionError, match="is not an empty folder"):
        convert(model, SklearnToOnnx(), tmp_path / "empty", sample=table)
    assert (tmp_path / "empty" / "model.onnx").read_bytes() == before


def test_an_option_that_there_is_not_is_named(iris: Any, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="sklearn -> onnx has no option 'float32'") as caught:
        convert(iris[2], SklearnToOnnx(), tmp_path / "made", options={"float32": True})
    assert caught.value.hint == "it has float64, opset"


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (np.zeros((3, 5)), "the sample has 5 columns"),
        (np.zeros(4), "the sample has shape"),
        (np.zeros((0, 4)), "the sample has no rows"),
    ],
)
def test_a_sample_that_does_not_fit_is_an_error(iris: Any, tmp_path: Path, sample: Any, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(iris[2], SklearnToOnnx(), tmp_path / "made", sample=sample)
    assert list(tmp_path.iterdir()) == []


def refused(model: Any, source: str, folder: Path, **settings: Any) -> ParityError:
    with pytest.raises(ParityError) as caught:
        convert(model, find_converter(source, "onnx"), folder / "made", **settings)
    assert not caught.value.report.passed
    # Neither the model nor what it was made in.
    assert [path.name for path in folder.iterdir() if path.name != "site"] == []
    return caught.value


def test_an_opset_that_is_only_relabelled_is_refused(damaging: None, tmp_path: Path) -> None:
    # Without an axis, Softmax of opset 12 takes all axes from 1 on together, and that of opset 13 the last one.
    nodes = [helper.make_node("Softmax", ["x"], ["y"])]
    model = graph(*nodes, inputs={"x": ["N", 3, 4]}, outputs={"y": ["N", 3, 4]}, opset=12)
    error = refused(model, "opset12", tmp_path)
    assert "the original's values sum to 1 over the axes 1 and 2, these over axis 2" in str(error)
    assert "its default changed with opset 13" in str(error)
    # The real converter keeps the meaning.
    kept = convert(model, find_converter("onnx", "onnx"), tmp_path / "kept", options={"opset": 13})
    assert "opset 13" in kept.report.notes


def test_swapped_outputs_are_refused(damaging: None, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["x"], ["mean"]),
        helper.make_node("Softplus", ["x"], ["deviation"]),
    ]
    model = graph(*nodes, inputs={"x": ["N", 4]}, outputs={"mean": ["N", 4], "deviation": ["N", 4]})
    error = refused(model, "swapped", tmp_path)
    assert "these are the values of 'deviation', the outputs are swapped" in str(error)
    assert [output.passed for output in error.report.outputs] == [False, False]


def test_swapped_outputs_of_a_classifier_are_refused(damaging: None, iris: Any, tmp_path: Path) -> None:
    error = refused(iris[2], "swapped-sklearn", tmp_path, sample=iris[0])
    assert "Output 'probabilities' (worst absolute infinite, worst relative infinite)" in str(error)
    assert "its shape is [150] where the original has [150, 3]" in str(error)


def test_mixed_up_weights_are_refused(damaging: None, iris: Any, tmp_path: Path) -> None:
    error = refused(iris[2], "mixed-sklearn", tmp_path, sample=iris[0])
    labels = next(output for output in error.report.outputs if output.name == "label")
    assert labels.agreement is not None
    assert labels.agreement < 1
    assert "of the rows have another answer, first for the sample" in labels.reason


def test_an_overflow_in_float16_is_refused(tmp_path: Path) -> None:
    # A wine's proline is up to 1680, and its square is beyond 65504.
    table, cultivar = load_wine(return_X_y=True)
    model = make_pipeline(PolynomialFeatures(2), StandardScaler(), LogisticRegression(max_iter=50)).fit(table, cultivar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = convert(model, SklearnToOnnx(), tmp_path / "wide", sample=table)
    assert done.report.passed
    (tmp_path / "half").mkdir()
    error = refused(
        tmp_path / "wide" / "model.onnx", "onnx", tmp_path / "half", sample=table, options={"float16": "true"}
    )
    assert "infinite or not a number where the original has numbers" in str(error)
    assert "float16 ends at 65504" in str(error)


def test_a_batch_size_that_is_baked_in_is_refused(tmp_path: Path) -> None:
    model = graph(
        helper.make_node("Reshape", ["x", "shape"], ["y"]), inputs={"x": ["N", 4]}, outputs={"y": ["N", 2, 2]}
    )
    model.graph.initializer.append(helper.make_tensor("shape", TensorProto.INT64, [3], [2, 2, 2]))

    class Baked(SklearnToOnnx):
        def convert(
            self, model: Any, folder: Path, *, sample: Any = None, options: Mapping[str, Any] = {}
        ) -> Converted:
            made = find_converter("onnx", "onnx").convert(unbaked, folder, sample=sample)
            onnx.save(model, folder / "model.onnx")
            return made

    unbaked = onnx.ModelProto()
    unbaked.CopyFrom(model)
    unbaked.graph.initializer[0].int64_data[0] = -1
    with pytest.raises(ParityError, match="for a batch of 1 the converted model fails"):
        convert(model, Baked(), tmp_path / "made", sample=RANDOM.standard_normal((2, 4)).astype(np.float32))


def test_the_users_tolerance_wins(iris: Any, damaging: None, tmp_path: Path) -> None:
    loose = Tolerance(relative=1, absolute=1, disagreement=1)
    mixed = find_converter("mixed-sklearn", "onnx")
    done = convert(iris[2], mixed, tmp_path / "made", sample=iris[0], tolerance=loose)
    assert done.report.tolerance == loose
    with pytest.raises(ParityError, match=r"Allowed: 1e-12 of the value \+ 0"):
        convert(
            iris[2],
            SklearnToOnnx(),
            tmp_path / "tight",
            sample=iris[0],
            tolerance=Tolerance(relative=1e-12, absolute=0),
        )


def test_without_a_sample_one_is_made_up_and_always_the_same(iris: Any, tmp_path: Path) -> None:
    first = convert(iris[2], SklearnToOnnx(), tmp_path / "one")
    second = convert(iris[2], SklearnToOnnx(), tmp_path / "two")
    assert first.report.samples == second.report.samples
    assert first.sample.inputs["X"].tolist() == second.sample.inputs["X"].tolist()
    assert first.report.samples[0] == "the sample x 17"


def test_the_file_is_one_that_tritons_onnxruntime_reads(iris: Any, tmp_path: Path) -> None:
    convert(iris[2], SklearnToOnnx(), tmp_path / "made")
    written = onnx.load(tmp_path / "made" / "model.onnx")
    assert written.ir_version <= 10
    domains = [opset.domain for opset in written.opset_import]
    assert len(domains) == len(set(domains))
    session = onnxruntime.InferenceSession(tmp_path / "made" / "model.onnx")
    assert [value.shape[1:] for value in session.get_outputs()] == [[], [3]]


@pytest.mark.parametrize(
    ("source", "path", "packages"),
    [
        ("torch", "m.pt", "triton-orchestrator[convert,torch]"),
        ("huggingface", "", "triton-orchestrator[convert,torch]"),
        ("sentence_transformers", "", "triton-orchestrator[convert,torch]"),
        ("keras", "m.keras", "tensorflow-cpu tf2onnx"),
        ("tensorflow", "", "tensorflow-cpu tf2onnx"),
    ],
)
def test_a_framework_that_is_not_installed_is_one_line(source: str, path: str, packages: str, tmp_path: Path) -> None:
    for name in ("m.pt", "m.keras", "model.safetensors", "saved_model.pb"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer", "path": ""}]')
    converter = find_converter(source, "onnx")
    with pytest.raises(ConversionError, match=r"this conversion needs the package \w+") as caught:
        convert(converter.load(tmp_path / path), converter, tmp_path / "made")
    assert caught.value.hint
    assert packages in caught.value.hint
    assert not (tmp_path / "made").exists()
