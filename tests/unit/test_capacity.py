"""Limits from a service's spec."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest

import orchestrator
from orchestrator.sdk import read_service
from orchestrator.server.capacity import Capacity, capacity_of, size_of
from orchestrator.spec import ServiceSpec


class Plain:
    @orchestrator.api
    def one(self, x: int) -> int:
        return x


class Mixed(Plain):
    @orchestrator.api(batchable=True, max_batch_size=64)
    def large(self, x: list[int]) -> list[int]:
        return x

    @orchestrator.api(batchable=True, max_batch_size=16)
    def small(self, x: list[int]) -> list[int]:
        return x


class Asynchronous(Plain):
    @orchestrator.api
    async def later(self, x: int) -> int:
        return x


class Streaming(Plain):
    @orchestrator.api
    def many(self) -> Iterator[int]:
        yield 1


class AsyncStreaming(Plain):
    @orchestrator.api
    async def many(self) -> AsyncGenerator[int, None]:
        yield 1


def spec(cls: type, **options: Any) -> ServiceSpec:
    made = orchestrator.service(**options)(type(cls.__name__, (cls,), {}))
    return read_service(made, f"m:{cls.__name__}").spec


@pytest.mark.parametrize(
    ("cls", "options", "processes", "units"),
    [
        (Plain, {}, 1, 2),
        (Plain, {"workers": 3}, 1, 6),
        (Plain, {"workers": 3}, 4, 2),
        (Plain, {"workers": 2, "threads": 4}, 1, 16),
        (Plain, {}, 4, 1),
        (Mixed, {}, 1, 128),
        (Mixed, {"workers": 2}, 2, 128),
        (Asynchronous, {}, 1, None),
        (Streaming, {}, 1, None),
        (AsyncStreaming, {"workers": 4}, 1, None),
    ],
)
def test_two_batches_a_worker_but_no_limit_for_code_that_takes_any_number(
    cls: type, options: dict[str, Any], processes: int, units: int | None
) -> None:
    assert capacity_of(spec(cls, **options), processes).units == units


@pytest.mark.parametrize(
    ("traffic", "processes", "limits"),
    [
        ({}, 1, Capacity(queue=1000)),
        ({}, 3, Capacity(queue=334)),
        ({"max_queue": 5}, 2, Capacity(queue=3)),
        ({"max_concurrency": 8}, 1, Capacity(calls=8, total=8)),
        ({"max_concurrency": 8}, 3, Capacity(calls=3, total=3)),
        ({"max_concurrency": 8, "max_queue": 0}, 1, Capacity(calls=8, queue=0)),
        ({"concurrency": 4}, 1, Capacity(queue=1000)),
        ({"external_queue": True}, 1, Capacity(queue=1000)),
        ({"concurrency": 4, "external_queue": True}, 1, Capacity(calls=4, queue=1000)),
        ({"concurrency": 4, "external_queue": True, "max_concurrency": 2}, 1, Capacity(calls=2, total=2)),
        ({"concurrency": 4, "external_queue": True, "max_concurrency": 9}, 1, Capacity(calls=4, total=9)),
    ],
)
def test_limits_that_the_configuration_names(traffic: dict[str, Any], processes: int, limits: Capacity) -> None:
    assert capacity_of(spec(Asynchronous, traffic=traffic), processes) == limits


def test_a_call_weighs_what_part_of_a_batch_it_is() -> None:
    service = spec(Mixed)
    sizes = [size_of(service, service.api(name), rows) for name, rows in (("one", 1), ("large", 1), ("large", 64))]
    assert sizes == [64, 1, 64]
    assert [size_of(service, service.api("small"), rows) for rows in (1, 16, 1000)] == [4, 64, 4000]
    alone = spec(Plain)
    assert size_of(alone, alone.api("one"), 1) == 1
