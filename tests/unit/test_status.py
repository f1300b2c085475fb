"""The status document, part by part."""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.engine.health import Health, ModelHealth, State
from orchestrator.errors import ServerProcessError
from orchestrator.sdk import read_service
from orchestrator.server.metrics import FrontendMetrics
from orchestrator.server.status import ModelIndex, ModelVersion, Status
from orchestrator.spec import ServiceSpec
from tests.services.graph_explained import Printer, Reader

ENGINE = b"""\
nv_inference_request_success{model="Printer",version="2"} 6
nv_inference_count{model="Printer",version="2"} 40
nv_inference_exec_count{model="Printer",version="2"} 5
nv_inference_queue_duration_us{model="Printer",version="2"} 3000
nv_inference_count{model="Printer.print",version="2"} 6
"""


class Ready:
    """Answers as it is told to, after some time."""

    missing = "elsewhere"

    def __init__(self, ready: bool = True, seconds: float = 0) -> None:
        self.is_ready, self.seconds, self.asked = ready, seconds, 0

    async def alive(self) -> bool:
        return True

    async def ready(self) -> bool:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        return self.is_ready

    async def metrics(self, page: bytes) -> bytes:
        return page


@pytest.fixture(scope="module")
def graph() -> list[ServiceSpec]:
    definition = read_service(Printer, "tests.services.graph_explained:Printer")
    return [*(each.spec for each in definition.others), definition.spec]


async def index() -> Sequence[ModelVersion]:
    return [
        ModelVersion("Printer", "1", "UNAVAILABLE", "unloaded"),
        ModelVersion("Printer", "2", "READY"),
        ModelVersion("Printer.print", "2", "READY"),
        ModelVersion("Words", "1", "READY"),
        ModelVersion("Cleaner", "", ""),
    ]


def status_of(
    graph: list[ServiceSpec],
    *,
    checks: Ready | None = None,
    health: Health | None = None,
    engine_index: ModelIndex | None = index,
) -> Status:
    async def engine() -> bytes:
        return ENGINE

    metrics = FrontendMetrics(graph[-1].metrics)
    return Status(
        graph, checks or Ready(), metrics, lambda: health or Health(), engine_index=engine_index, engine_metrics=engine
    )


def read(status: Status) -> dict[str, Any]:
    return dict(json.loads(asyncio.run(status.document())))


def test_every_model_has_its_versions_and_facades_are_left_out(graph: list[ServiceSpec]) -> None:
    document = read(status_of(graph))
    versions = {model["name"]: [tuple(each.values()) for each in model["versions"]] for model in document["models"]}
    assert next(iter(versions)) == "Printer"
    assert versions == {
        "Printer": [("1", "UNAVAILABLE", "unloaded"), ("2", "READY", "")],
        "Cleaner": [],
        "Words": [("1", "READY", "")],
    }
    assert document["counters"]["models"] == [
        {"model": "Printer", "version": "2", "rows": 40, "batches": 5, "requests": 6, "queue_us": 3000}
    ]


def test_health_is_that_of_the_worst_with_its_reason(graph: list[ServiceSpec]) -> None:
    words = ModelHealth(state=State.DEGRADED, reason="Words has one worker of two")
    document = read(status_of(graph, health=Health(models={"Words": words, "Stranger": ModelHealth(state=State.DOWN)})))
    assert document["health"] == {"state": "degraded", "reason": "Words has one worker of two"}
    assert {model["name"]: model["health"]["state"] for model in document["models"]} == {
        "Printer": "serving", "Cleaner": "serving", "Words": "degraded"
    }  # fmt: skip


def test_nobody_is_asked_whether_they_are_ready_where_nothing_can_answer(graph: list[ServiceSpec]) -> None:
    checks = Ready()
    whole = Health(whole=ModelHealth(state=State.DOWN, reason="Triton has died"))
    assert read(status_of(graph, checks=checks, health=whole))["health"] == {
        "state": "down",
        "reason": "Triton has died",
    }
    assert checks.asked == 0


def test_what_is_not_ready_is_named(graph: list[ServiceSpec]) -> None:
    document = read(status_of(graph, checks=Ready(ready=False)))
    assert document["health"] == {"state": "down", "reason": "not ready: elsewhere"}


def test_a_triton_that_does_not_answer_is_no_error(graph: list[ServiceSpec]) -> None:
    async def refuses() -> Sequence[ModelVersion]:
        raise ServerProcessError("Triton refused")

    document = read(status_of(graph, engine_index=refuses))
    assert [model["versions"] for model in document["models"]] == [[], [], []]


def test_a_slow_part_is_waited_for_a_little_and_never_asked_twice_at_a_time(graph: list[ServiceSpec]) -> None:
    checks = Ready(seconds=2.5)

    async def twice() -> tuple[float, list[str]]:
        status = status_of(graph, checks=checks)
        began = time.monotonic()
        documents = [json.loads(await status.document()) for _ in range(2)]
        return time.monotonic() - began, [document["health"]["state"] for document in documents]

    took_s, states = asyncio.run(twice())
    assert states == ["down", "down"], "nobody has said yet that it is ready"
    assert took_s < 2.4
    assert checks.asked == 1


def test_readers_at_the_same_time_share_a_document(graph: list[ServiceSpec]) -> None:
    checks = Ready()

    async def many() -> set[bytes]:
        status = status_of(graph, checks=checks)
        return set(await asyncio.gather(*(status.document() for _ in range(20))))

    assert len(asyncio.run(many())) == 1
    assert checks.asked == 1


def test_what_a_url_has_that_is_secret_stays_out() -> None:
    definition = read_service(Reader, "tests.services.graph_explained:Reader")
    dependency = definition.spec.dependencies[2]
    secret = dependency.model_copy(update={"url": "http://me:secret@far.example:1/x?key=secret"})
    spec = definition.spec.model_copy(update={"dependencies": (*definition.spec.dependencies[:2], secret)})
    document = read(status_of([spec]))
    assert document["services"][0]["calls"][2] == {"attribute": "far", "service": None, "url": "http://far.example:1"}
    assert "secret" not in json.dumps(document)
