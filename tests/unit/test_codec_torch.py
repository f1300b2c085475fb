"""Tensors of torch and tensorflow. The packages are not needed to run the service, nor most of this."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from orchestrator.codec import row_codec_of
from orchestrator.codec.container import container_of, to_numpy
from orchestrator.sdk.annotations import describe
from orchestrator.spec import DType as TensorType
from orchestrator.spec import ValueKind
from orchestrator.validators import DType, Shape
from tests.unit.journeys import arrive, give, sent_back

NOWHERE = Path("/nowhere")


def test_nothing_heavy_is_imported_with_the_package() -> None:
    code = (
        "import sys, orchestrator, orchestrator.codec, orchestrator.sdk.reader, orchestrator.validators\n"
        "import orchestrator.worker.executor\n"
        "print([m for m in ('PIL', 'pandas', 'pyarrow', 'torch', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_tensor_is_known_by_its_package_and_name() -> None:
    for package, module in (("torch", "torch"), ("tensorflow", "tensorflow.python.framework.tensor")):
        tensor = type("Tensor", (), {"__module__": module})
        assert container_of(tensor) == package
        assert container_of(type("Mine", (tensor,), {})) == package
        value = describe(tensor, "argument")
        assert (value.kind, value.container) == (ValueKind.ARRAY, package)
    for other in (np.ndarray, int, type("Tensor", (), {})):
        assert container_of(other) is None


class TestTorch:
    torch: Any

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        type(self).torch = pytest.importorskip("torch")

    @pytest.mark.parametrize(
        "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "uint16"]
    )
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 2), (1, 2, 3)])
    def test_a_tensor_arrives_and_comes_back(self, dtype: str, shape: tuple[int, ...]) -> None:
        array = np.ones(shape, dtype)
        arrived = arrive(self.torch.Tensor, array, NOWHERE)
        assert type(arrived) is self.torch.Tensor
        assert arrived.dtype is getattr(self.torch, dtype)
        assert tuple(arrived.shape) == shape
        back = give(self.torch.Tensor, arrived)
        assert np.array_equal(back, array)

    def test_json_numbers_are_what_torch_makes_of_them(self) -> None:
        for sent in ([1.5], [1], [True], [[0.5, 2]]):
            assert arrive(self.torch.Tensor, sent, NOWHERE).dtype is self.torch.tensor(sent).dtype
        assert arrive(self.torch.Tensor, np.array([1.5]), NOWHERE).dtype is self.torch.float64
        with pytest.raises(ValueError, match="too large for float32"):
            arrive(self.torch.Tensor, [1e300], NOWHERE)

    def test_the_markers_hold(self) -> None:
        annotation: Any = Annotated[self.torch.Tensor, DType("float16"), Shape((-1, 2))]
        value = describe(annotation, "argument")
        assert (value.dtype, value.shape, value.container) == (TensorType.FP16, (-1, 2), "torch")
        assert arrive(annotation, [[1, 2]], NOWHERE).dtype is self.torch.float16
        with pytest.raises(ValueError, match="shape"):
            arrive(annotation, [1], NOWHERE)

    def test_what_arrives_can_be_written_to(self) -> None:
        array = np.ones((2, 2), np.float32)
        array.flags.writeable = False
        arrived = arrive(Annotated[self.torch.Tensor, DType("float32")], array, NOWHERE)
        arrived[0, 0] = 5
        assert array[0, 0] == 1
        assert arrive(self.torch.Tensor, np.ones((3, 2))[::-1], NOWHERE).shape == (3, 2)

    def test_text_is_no_tensor(self) -> None:
        with pytest.raises(ValueError, match="cannot become a torch tensor"):
            arrive(self.torch.Tensor, ["a"], NOWHERE)

    def test_any_tensor_can_be_returned(self) -> None:
        torch = self.torch
        for tensor, expected in [
            (torch.ones(2, requires_grad=True), [1.0, 1.0]),
            (torch.nn.Parameter(torch.ones(2)), [1.0, 1.0]),
            (torch.tensor([1.5], dtype=torch.bfloat16), [1.5]),
            (torch.tensor([1.5]).to(torch.float8_e5m2), [1.5]),
            (torch.eye(2).to_sparse(), [[1.0, 0.0], [0.0, 1.0]]),
            (torch.ones(2, 3).t(), [[1.0, 1.0]] * 3),
            (torch.tensor([1 + 2j]).conj().imag, [-2.0]),
            (torch.tensor(3), 3),
        ]:
            assert give(torch.Tensor, tensor).tolist() == expected
            assert give(np.ndarray, tensor).tolist() == expected
        assert give(torch.Tensor, torch.tensor([1.0], dtype=torch.bfloat16)).dtype == np.float32
        assert sent_back(torch.Tensor, torch.tensor([[1, 2]])) == b"[[1,2]]"

    def test_a_declared_dtype_is_kept(self) -> None:
        half: Any = Annotated[self.torch.Tensor, DType("float16")]
        assert give(half, self.torch.tensor([1.5], dtype=self.torch.bfloat16)).dtype == np.float16
        with pytest.raises(ValueError, match="expected dtype int32"):
            give(Annotated[self.torch.Tensor, DType("int32")], self.torch.tensor([1.5]))

    def test_what_has_no_array_is_refused(self) -> None:
        torch = self.torch
        ragged = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])
        for tensor in (ragged, torch.ones(1, device="meta"), torch.tensor([1j])):
            with pytest.raises(ValueError, match=r"no form as an array|cannot be sent"):
                give(torch.Tensor, tensor)

    def test_a_method_may_return_an_array_or_lists_instead(self) -> None:
        assert give(self.torch.Tensor, np.ones(2)).tolist() == [1.0, 1.0]
        assert give(self.torch.Tensor, [1, 2]).tolist() == [1, 2]

    def test_batches_are_joined_and_split(self) -> None:
        torch, codec = self.torch, row_codec_of(ValueKind.ARRAY)
        one, other = torch.ones(2, 3), torch.zeros(1, 3)
        assert codec.joinable(one, 0) == codec.joinable(other, 0)
        assert codec.joinable(one, 0) != codec.joinable(other.double(), 0)
        assert codec.joinable(one, 0) != codec.joinable(torch.ones(2, 4), 0)
        joined = codec.join([one, other], 0)
        assert type(joined) is torch.Tensor
        assert codec.count(joined.requires_grad_(), 0) == 3
        assert [len(part) for part in codec.split(joined, [2, 1], 0)] == [2, 1]
        with pytest.raises(ValueError, match="no batch axis"):
            codec.count(torch.tensor(1), 0)

    def test_a_batch_arrives_and_comes_back(self) -> None:
        arrived = arrive(self.torch.Tensor, [[1.0, 2.0], [3.0, 4.0]], NOWHERE, rows=True)
        assert arrived.dtype is self.torch.float32
        assert give(self.torch.Tensor, arrived, rows=True).tolist() == [[1.0, 2.0], [3.0, 4.0]]

    def test_lists_and_none(self) -> None:
        tensor: Any = self.torch.Tensor
        many = arrive(list[tensor], [[1.5], [[1]]], NOWHERE)
        assert [tuple(one.shape) for one in many] == [(1,), (1, 1)]
        assert arrive(tensor | None, None, NOWHERE) is None


class TestTensorflow:
    tensorflow: Any

    @pytest.fixture(autouse=True)
    def _tensorflow(self) -> None:
        type(self).tensorflow = pytest.importorskip("tensorflow")

    def test_a_tensor_arrives_and_comes_back(self) -> None:
        tf = self.tensorflow
        for array in (np.ones((2, 3), np.float32), np.array(1), np.array(["a", "é"])):
            arrived = arrive(tf.Tensor, array, NOWHERE)
            assert isinstance(arrived, tf.Tensor)
            assert np.array_equal(give(tf.Tensor, arrived), array)
        assert arrive(tf.Tensor, [1.5], NOWHERE).dtype == tf.float32
        assert give(tf.Tensor, tf.constant([1.5], tf.bfloat16)).dtype == np.float32
        assert give(tf.Tensor, tf.Variable([1.5])).tolist() == [1.5]

    def test_what_has_no_array_is_refused(self) -> None:
        tf = self.tensorflow
        with tf.Graph().as_default(), pytest.raises(ValueError, match="no form as an array"):
            to_numpy(tf.constant(1))

    def test_batches_are_joined_and_split(self) -> None:
        tf, codec = self.tensorflow, row_codec_of(ValueKind.ARRAY)
        one, other = tf.ones((2, 3)), tf.zeros((1, 3))
        assert codec.joinable(one, 0) == codec.joinable(other, 0)
        joined = codec.join([one, other], 0)
        assert isinstance(joined, tf.Tensor)
        assert codec.count(joined, 0) == 3
        assert [len(part) for part in codec.split(joined, [2, 1], 0)] == [2, 1]
