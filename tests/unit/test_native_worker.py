"""Requests of a model file: merged into one run, split again, and each blamed for itself only."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from orchestrator.errors import CallError, InvalidInput, OutputMismatch, ServiceFault
from orchestrator.formats import OpenModel, Sample, open_model, read_signature
from orchestrator.spec import ModelFormat, ModelOptions, NativeModelSpec
from orchestrator.worker.native import ModelCall, answer, device_for, prove, threads_for, warm_up
from tests.onnx_models import linear, save, value

FLOAT = TensorProto.FLOAT


class Counted(OpenModel):
    """A real model that counts its runs."""

    def __init__(self, model: OpenModel) -> None:
        super().__init__(model.spec, model)  # an open model runs as its runner does
        self.runs: list[tuple[int, ...]] = []

    def run(self, inputs: Any, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        self.runs.extend(array.shape for array in list(inputs.values())[:1])
        return super().run(inputs, outputs)


def counted(path: Path, **options: Any) -> Counted:
    spec = NativeModelSpec(
        attribute="m",
        name="m",
        format=ModelFormat.ONNX,
        file=path.name,
        signature=read_signature(path, ModelFormat.ONNX),
        options=ModelOptions(**options),
        files_digest="",
    )
    return Counted(open_model(path.parent, spec, threads=1))


def twofold(path: Path, batch: str | int = "batch") -> Path:
    """`sum = a.sum(axis=1)` (a column), `twice = 2 * a`, `a` of any width."""
    nodes = [
        helper.make_node("ReduceSum", ["a", "one"], ["sum"], keepdims=0),
        helper.make_node("Add", ["a", "a"], ["twice"]),
    ]
    outputs = [value("sum", FLOAT, (batch,)), value("twice", FLOAT, (batch, "width"))]
    return save(path, nodes, [value("a", FLOAT, (batch, "width"))], outputs, {"one": np.array([1])})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    return counted(twofold(tmp_path_factory.mktemp("m") / "m.onnx"))


def call(array: NDArray[Any], *outputs: str, name: str = "a") -> ModelCall:
    return ModelCall({name: array}, outputs or ("sum", "twice"))


def arrays(result: Any) -> dict[str, Any]:
    assert not isinstance(result, CallError), result
    return {name: array.tolist() for name, array in result.items()}


requests = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(1, 3),
        st.sampled_from([("sum",), ("twice",), ("sum", "twice"), ("twice", "sum")]),
    ),
    max_size=8,
)


@given(requests)
def test_every_call_gets_its_own_rows_and_outputs_whatever_it_is_merged_with(shared: Counted, asked: Any) -> None:
    random = np.random.default_rng(len(asked))
    given_ = [random.integers(0, 9, (rows, width)).astype(np.float32) for rows, width, _ in asked]
    calls = [call(array, *outputs) for array, (_, _, outputs) in zip(given_, asked, strict=True)]
    shared.runs.clear()
    results = answer(shared, calls)
    assert len(results) == len(calls)
    for array, (_, _, outputs), result in zip(given_, asked, results, strict=True):
        # Triton's clients see a column as [rows, 1].
        expected = {"sum": array.sum(axis=1)[:, None].tolist(), "twice": (2 * array).tolist()}
        assert arrays(result) == {name: expected[name] for name in outputs}
    # One run for each width: only those can be merged.
    assert len(shared.runs) == len({width for _, width, _ in asked})
    assert sum(shape[0] for shape in shared.runs) == sum(rows for rows, _, _ in asked)


def test_only_the_call_to_blame_fails(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["table", "i"], ["y"])]
    table = {"table": np.arange(3, dtype=np.float32)}
    outputs = [value("y", FLOAT, ("n", 1))]
    model = counted(save(tmp_path / "m.onnx", nodes, [value("i", TensorProto.INT64, ("n", 1))], outputs, table))
    calls = [call(np.array([[i]]), "y", name="i") for i in (0, 7, 2)]
    first, second, third = answer(model, calls)
    assert (arrays(first), arrays(third)) == ({"y": [[0.0]]}, {"y": [[2.0]]})
    assert isinstance(second, ServiceFault)
    assert "idx=7" in str(second)
    assert model.runs == [(3, 1), (1, 1), (1, 1), (1, 1)]


def test_a_call_that_does_not_fit_is_refused_before_the_others_are_merged(tmp_path: Path) -> None:
    model = counted(linear(tmp_path / "m.onnx"))
    good = np.ones((2, 4), np.float32)
    calls = [
        call(good, "y", name="x"),
        call(np.ones((2, 4)), "y", name="x"),
        call(np.ones((1, 5), np.float32), "y", name="x"),
        ModelCall({}, ("y",)),
        call(good, "y", name="x"),
    ]
    results = answer(model, calls)
    assert [isinstance(result, InvalidInput) for result in results] == [False, True, True, True, False]
    assert arrays(results[0]) == arrays(results[4])
    assert model.runs == [(4, 4)]


def test_an_output_with_other_rows_than_its_input_is_a_mismatch(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["y"], axes=[0], keepdims=1)]
    path = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, (None, 2))], [value("y", FLOAT, (None, 2))])
    model = counted(path)
    assert model.spec.max_batch_size  # the file said nothing that speaks against it
    one, two = answer(model, [call(np.ones((rows, 2), np.float32), "y", name="x") for rows in (1, 2)])
    assert arrays(one) == {"y": [[1.0, 1.0]]}
    assert isinstance(two, OutputMismatch)
    assert str(two) == "m was given 2 rows, and its 'y' has 1"


@pytest.mark.parametrize("how", ["fixed", "switched off"])
def test_a_model_that_does_not_batch_runs_once_a_call(tmp_path: Path, how: str) -> None:
    path = twofold(tmp_path / "m.onnx", 1 if how == "fixed" else "batch")
    model = counted(path, max_batch_size=0)
    results = answer(model, [call(np.full((1, 2), i, np.float32), "sum") for i in range(3)])
    # Without a batch axis in Triton a tensor of one axis is as it is.
    assert [arrays(result) for result in results] == [{"sum": [0.0]}, {"sum": [2.0]}, {"sum": [4.0]}]
    assert len(model.runs) == 3


def test_a_number_has_an_axis_on_the_way(tmp_path: Path) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    model = counted(save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ())], [value("y", FLOAT, ())]))
    assert arrays(answer(model, [call(np.ones(1, np.float32), "y", name="x")])[0]) == {"y": [-1.0]}
    assert model.runs == [()]


def test_a_model_is_proved_by_its_sample(tmp_path: Path) -> None:
    model = counted(linear(tmp_path / "m.onnx"))
    x = np.ones((2, 4), np.float32)
    y = model.run({"x": x})["y"]
    prove(model, Sample({"x": x}, {"y": y}))
    prove(model, Sample({"x": x}, {"y": y * np.float32(1.0005)}))
    with pytest.raises(OutputMismatch, match=r"output 'y' is not what the model's sample says: 1 of 6 values differ"):
        prove(model, Sample({"x": x}, {"y": y + np.array([[0, 0, 0], [0, 1, 0]], np.float32)}))
    with pytest.raises(OutputMismatch, match="none of the model's outputs"):
        prove(model, Sample({"x": x}, {"z": y}))
    with pytest.raises(InvalidInput, match="x: is missing"):
        prove(model, Sample({}, {"y": y}))


def test_a_warm_up_that_fails_is_no_fault_of_the_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    path = save(
        tmp_path / "m.onnx",
        nodes,
        [value("x", FLOAT, ("n", "width"))],
        [value("y", FLOAT, ("n", 3, "third"))],
        {"shape": np.array([0, 3, -1])},
    )
    with caplog.at_level("INFO", "orchestrator.worker"):
        warm_up(counted(path))
    assert "m: no warm-up with generated inputs" in caplog.text


@pytest.mark.parametrize(
    ("options", "cores", "threads"),
    [
        (ModelOptions(), 8, 8),
        (ModelOptions(instances=3), 8, 2),
        (ModelOptions(instances=2, gpus=(0, 1)), 8, 2),
        (ModelOptions(instances=4), 2, 1),
        (ModelOptions(instances=4, threads=5), 2, 5),
    ],
)
def test_instances_share_the_cores(shared: Counted, options: ModelOptions, cores: int, threads: int) -> None:
    assert threads_for(shared.spec.model_copy(update={"options": options}), cores) == threads


def test_instances_take_the_gpus_in_turn(shared: Counted) -> None:
    on = shared.spec.model_copy(update={"options": ModelOptions(instances=2, gpus=(0, 3))})
    assert [device_for(on, index) for index in (1, 2, 3, 4)] == [0, 3, 0, 3]
    assert device_for(shared.spec, 1) is None
