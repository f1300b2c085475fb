"""The examples as their READMEs run them, on the real Triton; and whatever a caller makes of their OpenAPI document."""

import io
import json
import sys
from typing import Any

import httpx2
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from PIL import Image
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from tests.e2e.serving import ROOT, Serving

pytestmark = pytest.mark.e2e

EXAMPLES = ROOT / "examples"
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


def fuzz(url: str) -> None:
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations: list[Any] = [result.ok() for result in document.get_all_operations()]  # type: ignore[union-attr]
    assert operations
    for operation in operations:

        @given(operation.as_strategy())
        @settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def check(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        check()


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


def test_ocr_lines_reads_its_picture_and_new_ones_exactly() -> None:
    folder = EXAMPLES / "ocr_lines"
    sys.path.insert(0, str(folder))
    try:
        from render import draw_line  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    with Serving("service:OcrLines", working_dir=folder) as server:
        sample = np.asarray(Image.open(folder / "sample.png").convert("RGB"))
        answer = httpx2.post(f"{server.url}/read", json={"image": sample.tolist()})
        assert answer.text == "The quick brown fox jumps over 13 lazy dogs."
        for text in ("Invoice No. 2024-0817", "Triton serves models; Python writes them."):
            pixels = draw_line(text)
            body = io.BytesIO()
            np.save(body, pixels)
            answer = httpx2.post(
                f"{server.url}/read", content=body.getvalue(), headers={"content-type": "application/x-npy"}
            )
            assert answer.text == text
        fuzz(server.url)
