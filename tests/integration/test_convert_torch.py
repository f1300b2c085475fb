"""torch, transformers and sentence-transformers to ONNX, with real weights, in a process that has them."""

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.torch_environment import TorchEnvironment

pytest_plugins = ["tests.torch_environment"]
MODULE = "tests.services.torch_conversions"


def outcome(environment: "TorchEnvironment", *arguments: Any) -> dict[str, Any]:
    found = json.loads(environment.run("-m", MODULE, *arguments).splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def network(torch_environment: "TorchEnvironment") -> dict[str, Any]:
    return outcome(torch_environment, "network")


@pytest.fixture(scope="module")
def modules(torch_environment: "TorchEnvironment") -> dict[str, Any]:
    return outcome(torch_environment, "modules")


@pytest.fixture(scope="module")
def minilm(torch_environment: "TorchEnvironment") -> dict[str, Any]:
    return outcome(torch_environment, "minilm", torch_environment.minilm)


def test_a_trained_network_reads_digits_as_before(network: dict[str, Any]) -> None:
    found = network["module"]
    assert found["inputs"] == ["input: FP32[-1, 1, 8, 8]"]
    assert found["outputs"] == ["output: FP32[-1, 10]"]
    assert found["batched"]
    assert found["worst"] < 1e-3  # of logits, ten times beyond the data
    assert found["agreement"] == [1.0]
    assert network["right"] > 0.97
    # Dropout and batch normalisation were off for the conversion only.
    assert network["still training"]


@pytest.mark.parametrize("kind", ["traced", "scripted", "pickled"])
def test_a_file_is_the_module(network: dict[str, Any], kind: str) -> None:
    assert network[kind]["outputs"] == ["scores: FP32[-1, 10]"]
    assert network[kind]["inputs"][0].endswith(": FP32[-1, 1, 8, 8]")
    assert network[kind]["agreement"] == [1.0]


def test_weights_alone_are_a_sentence(network: dict[str, Any]) -> None:
    assert "holds a OrderedDict and not a module" in network["weights"]


def test_a_network_in_half_the_bytes_gives_the_same_answers(network: dict[str, Any]) -> None:
    assert network["float16"]["agreement"] == [1.0]
    assert network["int8"]["agreement"][0] > 0.95


def test_inputs_and_outputs_have_the_modules_names_and_free_axes(modules: dict[str, Any]) -> None:
    tokens = modules["tokens"]
    assert tokens["inputs"] == ["ids: INT64[-1, -1]", "mask: INT64[-1, -1]"]
    assert tokens["outputs"] == ["vector: FP32[-1, 16]", "scores: FP32[-1, 3]"]
    assert tokens["batched"]
    assert {"only 5 along axis 1 x 3", "only 1 along axis 1 x 3"} <= set(tokens["samples"])
    image = modules["image"]
    assert (image["inputs"], image["outputs"]) == (["pixels: FP32[-1, 3, -1, -1]"], ["output: FP32[-1, 4, -1, -1]"])
    assert {"only 8 along axis 2 x 3", "only 6 along axis 3 x 3"} <= set(image["samples"])
    assert modules["doubles"]["inputs"] == ["input: FP64[-1, 4]"]


def test_a_module_that_is_no_model_for_batches_is_refused(modules: dict[str, Any]) -> None:
    assert modules["mixes"].startswith("ParityError")
    assert "the original itself mixes the rows of a batch" in modules["mixes"]


def test_what_tracing_loses_is_refused(modules: dict[str, Any]) -> None:
    # A number of rows, and one side of an `if`: torch only warns of these.
    assert modules["bakes"].startswith("ParityError")
    assert modules["picks"].startswith("ParityError")
    assert "for the sample negated" in modules["picks"]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no sample", "this conversion needs a sample (one row or more of ids)"),
        ("wrong sample", "the module does not take the sample (input float32[2, 5])"),
        ("wrong names", "3 names for 2 outputs (the module gives vector, scores)"),
    ],
)
def test_a_mistake_is_a_sentence(modules: dict[str, Any], what: str, words: str) -> None:
    assert words in modules[what]
    assert not modules[what].endswith("]")  # nothing is left behind


def test_minilm_is_sentence_transformers_to_a_ten_thousandth(minilm: dict[str, Any]) -> None:
    apart = minilm["apart"]
    assert len(apart) >= 10
    assert len({case.rpartition(" ")[2] for case in apart}) >= 3  # lengths
    assert max(apart.values()) < 1e-4


@pytest.mark.parametrize("kind", ["sentence_transformers", "object"])
def test_pooling_and_normalisation_are_in_the_graph(minilm: dict[str, Any], kind: str) -> None:
    found = minilm[kind]
    assert found["inputs"] == [f"{name}: INT64[-1, -1]" for name in ("input_ids", "attention_mask", "token_type_ids")]
    assert found["outputs"] == ["sentence_embedding: FP32[-1, 384]"]
    assert found["batched"]
    assert found["worst"] < 1e-4
    assert "tokenizer.json lies beside the model" in found["notes"]


def test_a_plain_transformer_gives_its_hidden_states(minilm: dict[str, Any]) -> None:
    found = minilm["huggingface"]
    assert found["outputs"] == ["last_hidden_state: FP32[-1, -1, 384]", "pooler_output: FP32[-1, 384]"]
    assert found["files"] == ["model.onnx", "tokenizer.json"]
