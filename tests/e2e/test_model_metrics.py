"""Batch sizes and queue times of the models, on the page of a server that has run them."""

from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchestrator.client import Client
from tests.e2e.model_counts import batch_sizes, series
from tests.e2e.serving import ROOT, Serving

pytestmark = pytest.mark.e2e

CALLERS, CALLS, ROWS = 24, 20, 2


def test_batches_of_concurrent_callers_show_with_their_sizes_and_waits() -> None:
    with Serving("mixed:Mixed") as server:

        def one_caller(number: int) -> None:
            with Client(server.url) as client:
                for _ in range(CALLS):
                    assert client.call("upper", words=[f"a{number}", "b"]) == [f"A{number}", "B"]

        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(one_caller, range(CALLERS)))
        rows = series(server.url, "orchestrator_model_batch_size_sum")
        batches = series(server.url, "orchestrator_model_batch_size_count")
        # One model, though its three APIs are facades that Triton counts as models, too.
        assert rows == {"mixed-1.0": CALLERS * CALLS * ROWS}
        assert batch_sizes(server.url) == {"mixed-1.0": pytest.approx(rows["mixed-1.0"] / batches["mixed-1.0"])}
        # Two rows are one call; more than two are calls that were merged.
        assert batch_sizes(server.url)["mixed-1.0"] > ROWS * 1.2
        requests = series(server.url, "orchestrator_model_queue_seconds_count")
        waited = series(server.url, "orchestrator_model_queue_seconds_sum")
        mean = series(server.url, "orchestrator_model_queue_seconds_mean")
        assert requests == {"mixed-1.0": CALLERS * CALLS}
        assert 0 < waited["mixed-1.0"] < CALLERS * CALLS * 60
        assert mean == {"mixed-1.0": pytest.approx(waited["mixed-1.0"] / requests["mixed-1.0"])}


def test_a_call_of_a_facade_counts_once() -> None:
    with Serving("mixed:Mixed") as server:
        assert series(server.url, "orchestrator_model_batch_size_sum") in ({}, {"mixed-1.0": 0})
        body = {"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["one two three"]}]}
        url = f"http://{server.triton['http']}/v2/models/mixed-1.0.count/infer"
        assert httpx2.post(url, json=body, timeout=30).json()["outputs"][0]["data"] == [3]
        assert series(server.url, "orchestrator_model_batch_size_sum") == {"mixed-1.0": 1}
        page = httpx2.get(f"{server.url}/metrics", timeout=30).text
        families = {family.name: family for family in text_string_to_metric_families(page)}
        theirs = families["bentoml_service_adaptive_batch_size"].samples
        assert {each.labels["runner_name"] for each in theirs} == {"mixed-1.0"}
        # What Triton itself counts is on the page as it is, facades and all.
        whole = {each.labels["model"]: each.value for each in families["nv_inference_count"].samples}
        assert (whole["mixed-1.0"], whole["mixed-1.0.count"]) == (1, 1)
        documented = (ROOT / "docs" / "metrics.md").read_text()
        ours = [family for name, family in families.items() if name.startswith("orchestrator_")]
        shown = [family for family in ours if not family.name.endswith("_created")]
        assert len(shown) >= 8
        for family in shown:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert f"| `{name}` | {family.type} |" in documented
