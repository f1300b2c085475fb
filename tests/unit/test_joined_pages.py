from prometheus_client.parser import text_string_to_metric_families

from orchestrator.triton.metrics import joined_pages

PAGE = b"""# HELP nv_inference_count Number of inferences
# TYPE nv_inference_count counter
nv_inference_count{model="Iris",version="1"} %d
# HELP nv_cpu_utilization CPU utilization rate [0.0 - 1.0]
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.5
"""


def test_pages_of_several_become_one_that_says_whose_each_sample_is() -> None:
    page = joined_pages({"10.0.0.1:8001": PAGE % 3, "10.0.0.2:8001": PAGE % 4})
    families = {family.name: family for family in text_string_to_metric_families(page.decode())}
    counts = families["nv_inference_count"]
    assert [(sample.labels, sample.value) for sample in counts.samples] == [
        ({"model": "Iris", "version": "1", "triton": "10.0.0.1:8001"}, 3),
        ({"model": "Iris", "version": "1", "triton": "10.0.0.2:8001"}, 4),
    ]
    assert counts.documentation == "Number of inferences"
    assert [sample.labels["triton"] for sample in families["nv_cpu_utilization"].samples] == [
        "10.0.0.1:8001",
        "10.0.0.2:8001",
    ]
    assert page.count(b"# TYPE") == 2
