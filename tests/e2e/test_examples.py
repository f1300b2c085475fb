"""The examples as their READMEs run them, on the real Triton; and whatever a caller makes of their OpenAPI document."""

import json

import httpx2
import pytest

from tests.e2e.fuzzing import fuzz
from tests.e2e.serving import Serving
from tests.examples import EXAMPLES

pytestmark = pytest.mark.e2e


def test_iris_names_known_flowers() -> None:
    flowers = json.loads((EXAMPLES / "iris" / "requests.json").read_text())
    with Serving("service:Iris", working_dir=EXAMPLES / "iris") as server:
        answers = [httpx2.post(f"{server.url}/classify", json=flower["request"]).json() for flower in flowers]
        assert answers == [flower["answer"] for flower in flowers]
        fuzz(server.url)


def test_summarize_keeps_sentences_of_the_text() -> None:
    with Serving("service:Summarization", working_dir=EXAMPLES / "summarize") as server:
        document = httpx2.get(f"{server.url}/openapi.json").json()
        default = document["paths"]["/summarize"]["post"]["requestBody"]["content"]["application/json"]["example"][
            "text"
        ]
        summary = httpx2.post(f"{server.url}/summarize", json={}).text
        assert 0 < len(summary) < len(default)
        assert all(sentence in default for sentence in summary.split(". ")[0].splitlines())
        fuzz(server.url)
