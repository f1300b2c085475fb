"""The metrics page, under our names and under BentoML's."""

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.testing import local_client
from tests.services.greeter import Greeter


def test_calls_are_counted_under_our_names_and_bentomls() -> None:
    with local_client(Greeter) as client:
        assert client.post("/greet", json={"name": "Ada"}).status_code == 200
        assert client.post("/greet", json={"name": 1}).status_code == 400
        families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    requests = [s for s in families["orchestrator_requests"].samples if s.name.endswith("_total")]
    ours = {sample.labels["status"]: sample.value for sample in requests}
    theirs = {
        (sample.labels["endpoint"], sample.labels["service_name"], sample.labels["http_response_code"]): sample.value
        for sample in families["bentoml_service_request"].samples
    }
    assert ours == {"200": 1, "400": 1}
    assert theirs == {("/greet", "Greeter", "200"): 1, ("/greet", "Greeter", "400"): 1}
    counts = [
        s.value for s in families["bentoml_service_request_duration_seconds"].samples if s.name.endswith("_count")
    ]
    assert counts == [2]
    assert {"bentoml_service_request_in_progress", "bentoml_service_last_request_timestamp_seconds"} <= families.keys()
