"""examples/embeddings on the real Triton: converted with the command, the same vectors as the original torch model."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.fuzzing import fuzz
from tests.e2e.model_counts import batch_sizes
from tests.e2e.serving import Serving
from tests.examples import EXAMPLES, example_modules

if TYPE_CHECKING:
    from tests.torch_environment import TorchEnvironment

pytest_plugins = ["tests.torch_environment"]
# The first test of a fresh checkout to ask for torch waits until its gigabytes are there.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

(similarity,) = example_modules("embeddings", "similarity")
TEXTS = [
    *similarity.SENTENCES,
    "",
    "naïve café 🙂 in 東京",
    "A sentence of middling length, with a comma, a number such as 1,204.60, and (in brackets) an aside.",
    "A text that is longer than the model reads. " * 60,
]
# As the authors' page shows it: mean pooling over what is no padding, then length 1.
ORIGINAL = """
import json, sys
import numpy as np, torch
from transformers import AutoModel, AutoTokenizer
folder, texts, target = sys.argv[1:]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
rows = []
for text in json.loads(open(texts).read()):
    tokens = tokenizer([text], truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1).float()
    mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
    rows.append(torch.nn.functional.normalize(mean, dim=1)[0].numpy())
np.save(target, np.stack(rows))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, torch_environment: "TorchEnvironment") -> Iterator[Path]:
    """A store with the converted model."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORCHESTRATOR_HOME", str(home))
        command = ("convert", "sentence_transformers", torch_environment.minilm, "--to", "onnx", "--name", "minilm")
        assert "saved minilm:" in torch_environment.run("-m", "orchestrator", *command)
        yield home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Serving]:
    with Serving("service:Embeddings", working_dir=EXAMPLES / "embeddings") as serving:
        yield serving


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, torch_environment: "TorchEnvironment") -> NDArray[np.float32]:
    """The vectors of the torch model."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    torch_environment.run("-c", ORIGINAL, torch_environment.minilm, folder / "texts.json", folder / "vectors.npy")
    vectors: NDArray[np.float32] = np.load(folder / "vectors.npy")
    return vectors


def embed(server: Serving, texts: list[str]) -> NDArray[np.float32]:
    answer = httpx2.post(f"{server.url}/embed", json={"texts": texts}, timeout=120)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json(), dtype=np.float32)


def ranked(vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
    """All pairs, the nearest first."""
    cosines: NDArray[Any] = similarity.similarities(vectors)
    first, second = np.triu_indices(len(vectors), 1)
    order = np.argsort(-cosines[first, second], kind="stable")
    return [(int(first[place]), int(second[place])) for place in order]


def test_the_vectors_are_those_of_the_torch_model(server: Serving, original: NDArray[np.float32]) -> None:
    together = embed(server, TEXTS)
    assert together.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(together, original, rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([embed(server, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, original, rtol=0, atol=1e-4)


def test_pairs_rank_as_in_the_torch_model(server: Serving, original: NDArray[np.float32]) -> None:
    sentences = len(similarity.SENTENCES)
    served = embed(server, list(similarity.SENTENCES))
    assert ranked(served) == ranked(original[:sentences])
    cosines = similarity.similarities(served) - 2 * np.eye(sentences)
    assert [int(place) // 3 for place in cosines.argmax(axis=1)] == [row // 3 for row in range(sentences)]
    pairs = ranked(served)
    # The twelve pairs within a topic and the 54 others: the nearest eight are all within one.
    assert all(first // 3 == second // 3 for first, second in pairs[:8])


def test_callers_at_once_share_batches_and_get_their_own(server: Serving, original: NDArray[np.float32]) -> None:
    with ThreadPoolExecutor(16) as pool:
        rows = list(pool.map(lambda number: embed(server, [TEXTS[number % 12]]), range(96)))
    for number, row in enumerate(rows):
        np.testing.assert_allclose(row[0], original[number % 12], rtol=0, atol=1e-4)
    assert batch_sizes(server.url)["Embeddings"] > 1
    assert batch_sizes(server.url)["minilm"] > 1


def test_no_text_and_wrong_ones_are_refused(server: Serving) -> None:
    answer = httpx2.post(f"{server.url}/embed", json={"texts": []}, timeout=30)
    assert (answer.status_code, answer.json()["detail"]) == (400, "texts: a batch needs at least one row")
    fuzz(server.url)
