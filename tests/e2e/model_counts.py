"""What the metrics page says of a service's models."""

import httpx2
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["batch_sizes", "series"]


def series(url: str, name: str) -> dict[str, float]:
    """A series of one version a model: model -> value."""
    page = httpx2.get(f"{url}/metrics", timeout=30).text
    samples = [each for family in text_string_to_metric_families(page) for each in family.samples if each.name == name]
    assert len({each.labels["model"] for each in samples}) == len(samples)
    return {each.labels["model"]: each.value for each in samples}


def batch_sizes(url: str) -> dict[str, float]:
    """Model -> mean rows of its batches since it was loaded."""
    return series(url, "orchestrator_model_batch_size_mean")
