"""Keras and TensorFlow to ONNX, in a process that has them."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.keras_environment import KerasEnvironment

pytest_plugins = ["tests.keras_environment"]
pytestmark = pytest.mark.soak  # 1.4 GB of packages


@pytest.fixture(scope="module")
def outcome(keras_environment: "KerasEnvironment") -> dict[str, Any]:
    found = json.loads(keras_environment.run("-m", "tests.services.keras_conversions").splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_tensorflow_lives_beside_our_numpy(outcome: dict[str, Any]) -> None:
    assert outcome["numpy"] == np.__version__


@pytest.mark.parametrize("name", ["network", "without a sample", "file"])
def test_a_trained_network_keeps_its_answers(outcome: dict[str, Any], name: str) -> None:
    found = outcome[name]
    assert (found["inputs"], found["outputs"]) == (["input: FP32[-1, 8, 8, 1]"], ["output: FP32[-1, 10]"])
    assert found["batched"]
    assert found["worst"] < 1e-4
    assert found["agreement"] == [1.0]


def test_inputs_and_outputs_have_the_models_names(outcome: dict[str, Any]) -> None:
    found = outcome["two of each"]
    assert found["inputs"] == ["numbers: FP32[-1, 4]", "tokens: INT32[-1, -1]"]
    assert sorted(found["outputs"]) == ["kind: FP32[-1, 3]", "price: FP32[-1, 1]"]
    assert found["batched"]
    assert "only 4 along axis 1 x 3" in found["samples"]


def test_a_saved_model_is_what_its_signature_says(outcome: dict[str, Any]) -> None:
    assert outcome["matches"] == [True, False, True]
    found = outcome["saved model"]
    assert found["inputs"][0].endswith(": FP32[-1, 8, 8, 1]")
    assert found["outputs"] == ["output_0: FP32[-1, 10]"]
    assert found["worst"] < 1e-4


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no keras", "is no Keras model (a file that ends in .keras"),
        ("no saved model", "there is no saved_model.pb in"),
        ("no signature", "the SavedModel has no signature 'train' (it has "),
    ],
)
def test_a_mistake_is_a_sentence(outcome: dict[str, Any], name: str, words: str) -> None:
    assert words in outcome[name]
