"""Every metric, and every label, that a dashboard or an alert names is on the page of a server that has worked."""

import shutil
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.composed import place_composed
from tests.e2e.serving import SERVICES, Serving, eventually
from tests.promql import named, queries

pytestmark = pytest.mark.e2e
# Triton has them where it has a GPU: names as in triton-inference-server/core, src/metrics.cc.
GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes", "nv_gpu_power_usage"}
PROMETHEUS_OWN = {"up"}


def labels_on(page: str) -> dict[str, set[str]]:
    """Each series that has a sample, by the name that it has on the page, and its labels."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name = line.split("{")[0].split(" ")[0]
            (family,) = text_string_to_metric_families(line + "\n")
            found[name].update(family.samples[0].labels)
    return found


@pytest.fixture
def worked(tmp_path: Path) -> dict[str, set[str]]:
    shutil.copy(SERVICES / "traced.py", place_composed(tmp_path))
    with (
        Serving("traced:Root", "--set", "traffic.max_concurrency=1", working_dir=tmp_path) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as http,
    ):
        assert http.post("/through", json={"x": 1}).status_code == 200
        assert http.post("/fail", json={"how": "fault"}).status_code == 500
        assert http.post("/count", json={"to": 2}).status_code == 200
        with ThreadPoolExecutor(8) as pool:
            statuses = set(pool.map(lambda x: http.post("/through", json={"x": x}).status_code, range(32)))
        assert {200} < statuses, "some have to be refused"
        # What workers count, Triton hears of once a second.
        assert eventually(lambda: "orchestrator_worker_calls_total{" in http.get("/metrics").text, 10)
        return labels_on(http.get("/metrics").text)


def test_what_dashboards_and_alerts_name_is_there(worked: dict[str, set[str]]) -> None:
    missing = []
    for query in queries():
        for name, labels in named(query).items():
            if name in GPU | PROMETHEUS_OWN:
                continue
            if name not in worked or not labels <= worked[name]:
                missing.append((name, labels - worked.get(name, set()), query))
    assert missing == []
