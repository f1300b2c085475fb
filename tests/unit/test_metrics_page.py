"""What a live table says, from two readings of a page."""

import math
from typing import Any

import pytest

from orchestrator.cli.metrics_page import MetricsPage, ModelRates, rates_between

BOUNDS = (0.1, 0.2, 0.4, math.inf)


def histogram(name: str, service: str, api: str, counts: tuple[int, ...]) -> str:
    lines = [f"# TYPE shop_{name} histogram"]
    for bound, count in zip(BOUNDS, counts, strict=True):
        le = "+Inf" if bound == math.inf else bound
        lines.append(f'shop_{name}_bucket{{service="{service}",api="{api}",le="{le}"}} {count}')
    return "\n".join([*lines, f'shop_{name}_count{{service="{service}",api="{api}"}} {counts[-1]}'])


def page(
    at_s: float, n: int, *, build: str = "shop_build_info", quantile: float = 2000, running: int = 3
) -> MetricsPage:
    """A page after n rounds; in each, Root is asked ten times, and Leaf twenty times by Root."""
    text = f"""
# TYPE {build} gauge
{build}{{service="Root",version="1",python="3.11"}} 1
# TYPE shop_instances gauge
shop_instances{{name="Leaf",where="triton"}} 2
shop_instances{{name="Leaf.net",where="triton"}} 1
shop_instances{{name="Root",where="frontend"}} 1
# TYPE shop_requests counter
shop_requests_total{{service="Root",api="a",status="200"}} {8 * n}
shop_requests_total{{service="Root",api="a",status="400"}} {n}
shop_requests_total{{service="Root",api="a",status="503"}} {n}
{histogram("request_duration_seconds", "Root", "a", (0, 5 * n, 10 * n, 10 * n))}
# TYPE shop_requests_in_progress gauge
shop_requests_in_progress{{service="Root",api="a"}} {running}
# TYPE shop_dependency_calls counter
shop_dependency_calls_total{{service="Leaf",api="b",outcome="ok"}} {17 * n}
shop_dependency_calls_total{{service="Leaf",api="b",outcome="left"}} {n}
shop_dependency_calls_total{{service="Leaf",api="b",outcome="invalid_input"}} {n}
shop_dependency_calls_total{{service="Leaf",api="b",outcome="service_fault"}} {n}
{histogram("dependency_call_duration_seconds", "Leaf", "b", (20 * n, 20 * n, 20 * n, 20 * n))}
# TYPE shop_model_batch_size summary
shop_model_batch_size_count{{model="Leaf",version="9"}} {4 * n}
shop_model_batch_size_sum{{model="Leaf",version="9"}} {20 * n}
shop_model_batch_size_count{{model="Leaf",version="10"}} {n}
shop_model_batch_size_sum{{model="Leaf",version="10"}} {5 * n}
shop_model_batch_size_count{{model="Leaf.net",version="1"}} 0
shop_model_batch_size_sum{{model="Leaf.net",version="1"}} 0
# TYPE shop_model_queue_seconds summary
shop_model_queue_seconds_count{{model="Leaf",version="9"}} {20 * n}
shop_model_queue_seconds_sum{{model="Leaf",version="9"}} {n}
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="Leaf",version="9",triton="a"}} {10 * n}
nv_inference_request_success{{model="Leaf",version="9",triton="b"}} {10 * n}
nv_inference_request_success{{model="Leaf.b",version="9"}} {20 * n}
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{{model="Leaf",version="9",reason="BACKEND"}} 0
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{{model="Leaf",version="9"}} 6
# TYPE nv_inference_request_summary_us summary
nv_inference_request_summary_us{{model="Leaf.net",version="1",quantile="0.5"}} {quantile}
nv_inference_request_summary_us{{model="Leaf.net",version="1",quantile="0.99"}} Nan
# TYPE bentoml_service_request counter
bentoml_service_request_total{{endpoint="/a"}} {n}
"""
    return MetricsPage(text, at_s)


def about(value: float) -> Any:
    return pytest.approx(value)


def rates(before: MetricsPage, now: MetricsPage) -> dict[str, ModelRates]:
    return {each.name: each for each in rates_between(before, now)}


def test_what_callers_reach_comes_first() -> None:
    assert page(0, 0).service == "Root"
    assert [each.name for each in rates_between(page(0, 0), page(1, 1))] == ["Root", "Leaf", "Leaf.net"]


def test_a_service_on_the_front_end() -> None:
    root = rates(page(10, 3), page(12, 5))["Root"]
    assert root == ModelRates(
        name="Root",
        where="frontend",
        instances=1,
        versions=(),
        requests_per_s=10,
        p50_s=about(0.2),
        p99_s=about(0.396),
        batch_rows=None,
        queue_s=None,
        in_flight=3,
        failures_per_s=1,
    )


def test_a_service_in_several_tritons_without_its_facades() -> None:
    leaf = rates(page(10, 3), page(12, 5))["Leaf"]
    assert leaf == ModelRates(
        name="Leaf",
        where="triton",
        instances=2,
        versions=("9", "10"),
        requests_per_s=20,
        p50_s=about(0.05),
        p99_s=about(0.099),
        batch_rows=5,
        queue_s=0.05,
        in_flight=6,
        failures_per_s=1,
    )


def test_a_model_that_only_workers_call_and_that_does_nothing() -> None:
    net = rates(page(10, 3), page(12, 5))["Leaf.net"]
    assert (net.requests_per_s, net.p50_s, net.p99_s, net.batch_rows, net.queue_s) == (0, 0.002, None, None, None)


def test_nothing_happened() -> None:
    leaf = rates(page(10, 3), page(12, 3))["Leaf"]
    assert (leaf.requests_per_s, leaf.p50_s, leaf.batch_rows, leaf.failures_per_s) == (0, None, None, 0)


def test_counters_that_begin_anew_are_no_negative_rates() -> None:
    root = rates(page(10, 1000), page(12, 1))["Root"]
    assert (root.requests_per_s, root.failures_per_s) == (5, 0.5)


def test_another_page_is_refused() -> None:
    with pytest.raises(ValueError, match="not a page"):
        MetricsPage('# TYPE python_info gauge\npython_info{version="3.11"} 1\n')
