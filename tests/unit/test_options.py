import os
from typing import Any

import pytest

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.sdk.decorators import api_options_of, service_options_of
from orchestrator.sdk.options import ApiOptions, service_options
from orchestrator.spec import Resources, ServiceConfig, Traffic, merge
from tests.places import assert_placed


def config_of(given: dict[str, Any]) -> ServiceConfig:
    return merge("Any", [service_options(given).layer]).config


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("512", 512),
        ("2k", 2000),
        ("2Ki", 2048),
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1G", 10**9),
        ("1GB", 10**9),
        (" 1 TiB ", 2**40),
        (2, 2 * 2**30),
        (0.5, 2**29),
        (None, None),
    ],
)
def test_memory_is_read_as_kubernetes_writes_it_and_a_bare_number_is_gib(written: Any, size: int | None) -> None:
    assert config_of({"resources": {"memory": written}}).resources.memory_bytes == size


@pytest.mark.parametrize(("written", "cores"), [("1", 1), (2, 2), ("500m", 0.5), ("1.5", 1.5), (None, None)])
def test_cpu_is_read_in_cores_or_thousandths(written: Any, cores: float | None) -> None:
    assert config_of({"resources": {"cpu": written}}).resources.cpu == cores


def test_nothing_said_is_one_worker_without_wishes_and_a_minute() -> None:
    assert service_options({}).name is None
    assert config_of({}) == ServiceConfig(workers=1, resources=Resources(), traffic=Traffic(timeout_s=60))


def test_cpu_count_is_the_cores_that_this_process_may_use() -> None:
    assert config_of({"workers": "cpu_count"}).workers == len(os.sched_getaffinity(0))


def test_traffic_is_read_in_seconds_and_calls() -> None:
    given = {"timeout": "2.5", "max_concurrency": 8, "concurrency": 4}
    assert config_of({"traffic": given}).traffic == Traffic(timeout_s=2.5, max_concurrency=8, concurrency=4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"worker": 1}, r"unknown key 'worker' \(did you mean 'workers'\?\)"),
        ({"zzz": 1}, r"unknown key 'zzz' \(known: name, placement, workers, threads, resources, traffic, .*\)"),
        ({"resources": {"memmory": "1Gi"}}, r"'resources.memmory' \(did you mean 'resources.memory'\?\)"),
        ({"traffic": {"time_out": 1}}, r"'traffic.time_out' \(did you mean 'traffic.timeout'\?\)"),
        ({"resources": 3}, "resources=3: is a section with the keys resources.cpu"),
        ({"workers": 0}, "whole number from 1 up"),
        ({"workers": True}, "whole number from 1 up"),
        ({"workers": "many"}, "'cpu_count'"),
        ({"name": ""}, "name of a service"),
        ({"name": "../up"}, "name of a service"),
        ({"name": "line\n"}, "name of a service"),
        ({"name": "x" * 129}, "name of a service"),
        ({"name": 3}, "name of a service"),
        ({"resources": {"memory": "2 apples"}}, "size such as '512Mi'"),
        ({"resources": {"memory": "5i"}}, "size such as '512Mi'"),
        ({"resources": {"memory": "1.2.3Gi"}}, "size such as '512Mi'"),
        ({"resources": {"cpu": "-1"}}, "from 0 up"),
        ({"resources": {"cpu": "nan"}}, "from 0 up"),
        ({"resources": {"gpu": 1.5}}, "only whole GPUs"),
        ({"resources": {"gpu": []}}, "takes a number"),
        ({"traffic": {"timeout": 0}}, "seconds above 0"),
        ({"traffic": {"max_concurrency": 0}}, "whole number from 1 up"),
        ({"traffic": {"concurrency": 1.5}}, "whole number from 1 up"),
    ],
)
def test_a_wrong_option_of_a_service_says_what_it_takes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        service_options(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batchabel": True}, r"@api: unknown key 'batchabel' \(did you mean 'batchable'\?\)"),
        ({"batchable": "yes"}, "True or False"),
        ({"route": "no-slash"}, "starts with '/'"),
        ({"route": "/a?b"}, "starts with '/'"),
        ({"route": "/{name}"}, "braces"),
        ({"batch_dim": -1}, "axis from 0 up"),
        ({"batch_dim": (0, 1, 2)}, "a pair"),
        ({"batch_dim": True}, "axis from 0 up"),
        ({"max_batch_size": 0}, "rows from 1 up"),
        ({"max_batch_size": 1.5}, "rows from 1 up"),
        ({"max_latency_ms": 0}, "milliseconds above 0"),
        ({"max_latency_ms": float("nan")}, "milliseconds above 0"),
        ({"max_latency_ms": float("inf")}, "milliseconds above 0"),
    ],
)
def test_a_wrong_option_of_an_api_says_what_it_takes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        orchestrator.api(**given)


@pytest.mark.parametrize(("written", "pair"), [(0, (0, 0)), (1, (1, 1)), ((1, 0), (1, 0)), ([0, 2], (0, 2))])
def test_one_batch_dim_stands_for_arguments_and_result(written: Any, pair: tuple[int, int]) -> None:
    @orchestrator.api(batch_dim=written)
    def method() -> None: ...

    options = api_options_of(method)
    assert options is not None
    assert options.batch_dim == pair


def test_the_decorators_leave_class_and_method_as_they_are() -> None:
    def method(self: object) -> str:
        return "called"

    assert orchestrator.api(method) is method
    assert orchestrator.api(name="ignored")(method) is method
    assert api_options_of(method) == ApiOptions()

    class Plain: ...

    assert orchestrator.service(Plain) is Plain
    assert service_options_of(Plain) == service_options({})
    assert service_options_of(type("Heir", (Plain,), {})) is None


def test_a_wrong_service_option_names_the_line_of_the_decorator() -> None:
    with pytest.raises(DefinitionError) as caught:

        @orchestrator.service(workers=-7)
        class _Wrong: ...

    assert_placed(caught.value, "workers=-7")


def test_a_wrong_api_option_names_the_line_of_the_decorator() -> None:
    with pytest.raises(DefinitionError) as caught:

        class _Wrong:
            @orchestrator.api(max_batch_size=-7)
            def run(self) -> None: ...

    assert_placed(caught.value, "max_batch_size=-7")


@pytest.mark.parametrize("wrong", [object, staticmethod(lambda: 1), classmethod(lambda cls: 1), "text", len, print])
def test_an_api_is_a_method_written_in_python(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="@api goes above a method"):
        orchestrator.api(wrong)


def test_a_service_is_a_class_marked_once() -> None:
    with pytest.raises(DefinitionError, match="@service goes above a class"):
        orchestrator.service()(len)  # type: ignore[type-var]
    with pytest.raises(DefinitionError, match="twice"):
        orchestrator.service(orchestrator.service(type("Plain", (), {})))
