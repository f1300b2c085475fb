"""Where values sit in tensors: names, batch axis, one API or several."""

from typing import Annotated, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import orchestrator
from orchestrator.codec import Layout
from orchestrator.errors import InvalidInput
from orchestrator.sdk import read_service
from orchestrator.spec import ANY, DType, TensorSpec
from orchestrator.validators import Shape
from tests.services.greeter import Greeter
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed
from tests.services.rows import Rows


def layout_of(service: type, api: str) -> Layout:
    spec = read_service(service, f"m:{service.__name__}").spec
    return Layout.of(spec, spec.api(api))


def shapes(layout: Layout) -> dict[str, tuple[DType, tuple[int, ...], bool]]:
    return {tensor.name: (tensor.dtype, tensor.shape, tensor.optional) for tensor in layout.inputs()}


def test_a_single_apis_tensors_are_called_as_its_arguments() -> None:
    layout = layout_of(Rows, "total")
    assert list(layout.inputs()) == [TensorSpec(name="rows", dtype=DType.FP32, shape=(ANY, 4))]
    assert list(layout.outputs()) == [TensorSpec(name="result", dtype=DType.FP32, shape=(ANY, 1))]
    assert layout.pack({"rows": np.zeros((2, 4), np.float32)}).parameters == {}


def test_several_apis_tensors_have_the_apis_name_in_front() -> None:
    layout = layout_of(Kinds, "integer")
    assert shapes(layout) == {"integer.value": (DType.INT64, (1,), False)}
    assert [tensor.name for tensor in layout.outputs()] == ["integer.result"]
    packed = layout.pack({"value": 4})
    assert packed.parameters == {"api": "integer"}
    assert packed.tensors["integer.value"].tolist() == [4]


def test_every_tensor_has_a_batch_axis_where_any_api_batches() -> None:
    assert shapes(layout_of(Mixed, "upper")) == {"upper.words": (DType.BYTES, (ANY, 1), False)}
    assert shapes(layout_of(Mixed, "count")) == {"count.text": (DType.BYTES, (ANY, 1), False)}
    assert layout_of(Mixed, "count").pack({"text": "a b"}).tensors["count.text"].tolist() == [[b"a b"]]


def test_an_api_that_can_be_called_without_arguments_has_an_input_that_nobody_needs_to_send() -> None:
    assert shapes(layout_of(Greeter, "greet")) == {
        "name": (DType.BYTES, (1,), True),
        "no-arguments": (DType.BOOL, (1,), True),
    }
    assert shapes(layout_of(Mixed, "version")) == {"version.no-arguments": (DType.BOOL, (ANY, 1), True)}
    assert layout_of(Mixed, "version").pack({}).tensors["version.no-arguments"].tolist() == [[True]]
    assert list(layout_of(Greeter, "greet").pack({"name": "Ada"}).tensors) == ["name"]


@pytest.mark.parametrize("name", ["call", "api", "hint", "no_arguments"])
def test_an_argument_never_has_the_name_of_a_tensor_of_ours(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def run(self, {name}: str = 'x') -> str: ...", namespace)
    cls = orchestrator.service(type("Made", (), {"run": orchestrator.api(namespace["run"])}))
    names = [tensor.name for tensor in layout_of(cls, "run").inputs()]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("api", "plains"),
    [
        ("text", {"value": "Größe"}),
        ("boolean", {"value": False}),
        ("mapping", {"value": b'{"a":1}'}),
        ("optional", {}),
        ("limits", {"small": 2}),
        ("nothing", {}),
    ],
)
def test_a_call_is_read_back_as_it_was_packed(api: str, plains: dict[str, Any]) -> None:
    layout = layout_of(Kinds, api)
    packed = layout.pack(plains)
    assert layout.unpack(packed.tensors, packed.parameters) == plains


@pytest.mark.parametrize("dtype", ["int64", "float64", "<U5", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 1, 2)])
def test_an_array_of_open_type_crosses_with_its_hint(dtype: str, shape: tuple[int, ...]) -> None:
    layout = layout_of(Kinds, "open_array")
    array = np.ones(shape, dtype)
    packed = layout.pack({"value": array})
    again = layout.unpack(packed.tensors, packed.parameters)["value"]
    assert again.shape == shape
    assert again.dtype.kind == array.dtype.kind
    assert np.array_equal(again, array)


@pytest.mark.parametrize("axes", [0, 1, (1, 0), (0, 1)])
def test_the_batch_axis_is_first_in_tensors_wherever_the_method_has_it(axes: Any) -> None:
    @orchestrator.service
    class Sides:
        @orchestrator.api(batchable=True, batch_dim=axes)
        def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
            return x

    layout = layout_of(Sides, "run")
    policy = layout.api.batch
    assert policy is not None
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    packed = layout.pack({"x": plain})
    assert len(packed.tensors["x"]) == plain.shape[policy.input_axis]
    assert np.array_equal(layout.unpack(packed.tensors, packed.parameters)["x"], plain)
    result = layout.pack_result(plain)
    assert len(result.tensor) == plain.shape[policy.output_axis]
    assert np.array_equal(layout.unpack_result(result.tensor, result.hint), plain)


@pytest.mark.parametrize(
    ("service", "api", "plain"), [(Kinds, "text", "x"), (Mixed, "count", 3), (Mixed, "upper", ["a", "b"])]
)
def test_a_result_is_read_back_as_it_was_packed(service: type, api: str, plain: Any) -> None:
    layout = layout_of(service, api)
    packed = layout.pack_result(plain)
    (output,) = layout.outputs()
    assert packed.tensor.ndim == len(output.shape)
    assert layout.unpack_result(packed.tensor, packed.hint) == plain


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        layout_of(Kinds, "text").unpack({}, {})
    assert caught.value.problems == ({"type": "missing", "loc": ["value"], "msg": "Field required"},)


def test_a_tensor_that_cannot_be_the_argument_is_named() -> None:
    with pytest.raises(InvalidInput, match="value: expected one element"):
        layout_of(Kinds, "text").unpack({"text.value": np.array([b"a", b"b"], dtype=object)}, {})
    with pytest.raises(InvalidInput, match="text: count does not batch: send one row, not 2"):
        layout_of(Mixed, "count").unpack({"count.text": np.array([[b"a"], [b"b"]], dtype=object)}, {})


def test_a_value_that_no_tensor_carries_is_named() -> None:
    with pytest.raises(InvalidInput, match="value: whole numbers must fit in 64 bits"):
        layout_of(Kinds, "integer").pack({"value": 2**64})


def test_a_declared_shape_is_the_tensors() -> None:
    @orchestrator.service
    class Shaped:
        @orchestrator.api
        def run(self, image: Annotated[NDArray[np.uint8], Shape((-1, -1, 3))], text: NDArray[np.str_]) -> None: ...

    assert shapes(layout_of(Shaped, "run")) == {
        "image": (DType.UINT8, (ANY, ANY, 3), False),
        "text": (DType.BYTES, (ANY, ANY), False),
    }
