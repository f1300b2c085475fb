"""`docker compose up` on the real engine: images, calls, metrics, limits, kills under load, and what is left.

One stack for all; the tests go on from each other, in the order of this file (`make compose-test` stops at the first failure).
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from orchestrator.client import SyncHTTPClient
from orchestrator.errors import InvalidInput
from tests.compose.base_image import ensure_base
from tests.compose.callers import FLOWERS, Callers
from tests.compose.engine import running_engine
from tests.compose.stack import Stack
from tests.e2e.serving import COMMAND, SERVICES, eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1500)]

COUNTER = re.compile(r'^nv_inference_request_success\{model="Iris",version="1"[^}]*\} (\d+)', re.MULTILINE)
BUILD_CACHE = "4GB"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with ExitStack() as exits:
        engine = exits.enter_context(running_engine())
        version = engine.docker("version", "--format", "{{.Server.Version}}").strip()
        print(
            f"\nDocker Engine {version}, {'started here' if engine.ours else 'found'}; base image: {ensure_base(engine)}"
        )
        stack = Stack(engine)
        try:
            started = time.monotonic()
            stack.compose("build", timeout_s=900)
            print(f"images built in {time.monotonic() - started:.0f} s: {sizes(stack)}")
            yield stack
        finally:
            stack.down()
            if engine.ours:
                engine.docker("image", "prune", "--force")
                engine.docker("builder", "prune", "--force", "--keep-storage", BUILD_CACHE)


def sizes(stack: Stack) -> str:
    rows = stack.engine.docker("image", "ls", "--format", "{{.Repository}} {{.Size}}").splitlines()
    return ", ".join(row.split("/", 1)[1] for row in rows if row.startswith("orchestrator-test/"))


def test_a_frontend_waits_for_its_triton(stack: Stack) -> None:
    took = stack.up("--no-deps", "frontend")
    (url,) = stack.urls()
    assert httpx2.get(f"{url}/livez").status_code == 200
    unready = httpx2.get(f"{url}/readyz")
    assert (unready.status_code, unready.headers["retry-after"]) == (503, "1")
    refused = httpx2.post(f"{url}/classify", json=FLOWERS[0]["request"], timeout=20)
    assert refused.status_code == 503
    assert "application/problem+json" in refused.headers["content-type"]
    assert eventually(lambda: "waiting for it" in stack.log("frontend"), 10)
    assert stack.inspect(stack.containers("frontend")[0])["RestartCount"] == 0
    print(f"\nfront-end alone: lives after {took:.1f} s; a call is answered with 503 after {refused.elapsed}")


def test_up_serves_the_committed_example(stack: Stack) -> None:
    took = stack.up()
    (url,) = stack.urls()
    with SyncHTTPClient(url, server_ready_timeout=30) as client:
        for flower in FLOWERS:
            assert client.classify(**flower["request"]).tolist() == flower["answer"]
        with pytest.raises(InvalidInput):
            client.classify([[1.0, 2.0]])
    assert "Triton at grpc://triton:8001 has Iris" in stack.log("frontend")
    print(f"\nup --wait: {took:.1f} s; {len(FLOWERS)} typed calls answered; memory: {memory(stack)}")


def memory(stack: Stack) -> str:
    rows = stack.engine.docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
    return ", ".join(row.removeprefix(f"{stack.name}-").split(" / ")[0] for row in rows if row.startswith(stack.name))


def test_metrics_of_triton_inside_and_through_the_frontend(stack: Stack) -> None:
    (url,), (triton,) = stack.urls(), stack.containers("triton")
    page = httpx2.get(f"{url}/metrics").text
    assert COUNTER.findall(page) == [str(calls_of(stack, triton))] == [str(len(FLOWERS))]
    assert f'orchestrator_requests_total{{api="classify",service="Iris",status="200"}} {len(FLOWERS)}.0' in page


def test_only_the_frontend_can_be_reached(stack: Stack) -> None:
    for service in ("triton", "postgres"):
        (container,) = stack.containers(service)
        state = stack.inspect(container)["NetworkSettings"]
        assert not any(state["Ports"].values())
        for network in state["Networks"]:
            (found,) = json.loads(stack.engine.docker("network", "inspect", network))
            assert found["Internal"], network
    (triton,) = stack.containers("triton")
    with pytest.raises(AssertionError):
        stack.execute(triton, "python3", "-c", "import socket; socket.create_connection(('postgres', 5432), 2)")
    (frontend,) = stack.containers("frontend")
    stack.execute(frontend, "python3", "-c", "import socket; socket.create_connection(('postgres', 5432), 2)")


@pytest.mark.parametrize("service", ["triton", "frontend", "postgres"])
def test_a_container_can_do_no_more_than_it_must(stack: Stack, service: str) -> None:
    (container,) = stack.containers(service)
    found = stack.inspect(container)
    host = found["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert found["State"]["Health"]["Status"] == "healthy"
    status = stack.execute(container, "cat", "/proc/self/status")
    assert re.search(r"^Uid:\s+1000\s+1000", status, re.MULTILINE)
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    for place in ("/", "/usr/bin", "/opt"):
        with pytest.raises(AssertionError, match="Read-only"):
            stack.execute(container, "sh", "-c", f"touch {place}/new 2>&1 || {{ echo Read-only >&2; false; }}")
    environment = " ".join(found["Config"]["Env"]).lower()
    assert "password" not in environment
    assert "proxy" not in environment


@pytest.mark.parametrize("service", ["triton-cpu", "frontend", "postgres"])
def test_no_certificate_or_address_of_the_builder_is_in_an_image(stack: Stack, service: str) -> None:
    image = f"orchestrator-test/{service}"
    said = stack.engine.docker("image", "inspect", image) + stack.engine.docker("history", "--no-trunc", image)
    bundle = stack.variables["BUILD_CA_BUNDLE"]
    assert not bundle or bundle not in said
    listed = stack.engine.docker(
        "run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", "ls -A /run/secrets /src; true"
    )
    assert not listed.strip()


def test_the_store_is_in_postgres(stack: Stack) -> None:
    (frontend,), (postgres,) = stack.containers("frontend"), stack.containers("postgres")
    assert "TAG" in stack.execute(frontend, "orchestrator", "models", "list")
    tables = stack.execute(
        postgres, "psql", "-h", "/tmp", "-d", "orchestrator", "-Atc", "select tablename from pg_tables"
    )
    assert "model_versions" in tables.split()
    connect = "import psycopg; psycopg.connect('postgresql://orchestrator@postgres/orchestrator')"
    with pytest.raises(AssertionError, match="password"):  # nobody comes in without the one that was made
        stack.execute(frontend, "python3", "-c", connect)


def test_a_killed_database_comes_again_with_what_was_in_it(stack: Stack) -> None:
    (frontend,), (postgres,) = stack.containers("frontend"), stack.containers("postgres")
    note = ["psql", "-h", "/tmp", "-d", "orchestrator", "-Atc"]
    stack.execute(postgres, *note, "create table kept as select 7 as number")
    stack.kill(postgres)
    assert eventually(lambda: stack.inspect(postgres)["RestartCount"] >= 1, 20)
    assert eventually(lambda: stack.inspect(postgres)["State"]["Health"]["Status"] == "healthy", 60)
    assert stack.execute(postgres, *note, "select number from kept").strip() == "7"
    assert "TAG" in stack.execute(frontend, "orchestrator", "models", "list")


def test_the_only_triton_is_killed_and_comes_again(stack: Stack) -> None:
    (url,), (triton,) = stack.urls(), stack.containers("triton")
    unlive = 0
    with Callers([url]) as callers:
        time.sleep(2)
        killed_s = time.monotonic()
        stack.kill(triton, "tritonserver")
        while time.monotonic() < killed_s + 8:
            unlive += httpx2.get(f"{url}/livez", timeout=5).status_code != 200
            time.sleep(0.2)
    assert_nothing_lost(callers)
    assert unlive == 0
    assert stack.inspect(triton)["RestartCount"] == 1
    assert callers.answered(killed_s + 7)
    print(f"\nthe only Triton killed: {callers.told()}")


def test_a_worker_inside_triton_is_killed_and_replaced(stack: Stack) -> None:
    (url,), (triton,) = stack.urls(), stack.containers("triton")
    restarts = stack.inspect(triton)["RestartCount"]
    with Callers([url]) as callers:
        time.sleep(2)
        killed_s = time.monotonic()
        stack.kill(triton, "triton_python_b", having="/models/Iris/")
        time.sleep(6)
    assert_nothing_lost(callers)
    assert len(callers.failures) <= 2 * callers.count
    assert callers.answered(killed_s + 5)
    assert stack.inspect(triton)["RestartCount"] == restarts
    assert "Iris: whole again after" in stack.log("triton")
    metrics = httpx2.get(f"{url}/metrics").text
    assert 'orchestrator_worker_deaths_total{what="Iris"} 1.0' in metrics, "the front-end knows of it from inside"
    print(f"\na worker killed: {callers.told()}")


def test_one_of_two_tritons_is_killed_under_load(stack: Stack) -> None:
    stack.up("--no-recreate", "--scale", "frontend=2", "--scale", "triton=2")
    urls, tritons = stack.urls(), stack.containers("triton")
    assert len(urls) == len(set(urls)) == len(tritons) == 2
    before = [calls_of(stack, triton) for triton in tritons]
    with Callers(urls) as callers:
        time.sleep(5)
        grown = [calls_of(stack, triton) - count for triton, count in zip(tritons, before, strict=True)]
        busier = tritons[grown.index(max(grown))]
        killed_s = time.monotonic()
        stack.kill(busier, "tritonserver")
        time.sleep(8)
    assert_nothing_lost(callers)
    # What was inside it, and no more: the other one takes over.
    assert len(callers.failures) <= callers.count
    assert callers.outage_s() < 1
    assert stack.inspect(busier)["RestartCount"] >= 1
    share = min(grown) / max(1, sum(grown))
    print(f"\none of two Tritons killed (shares {1 - share:.0%} and {share:.0%}): {callers.told()}")
    assert share > 0.25
    assert callers.answered(killed_s + 5)


def test_one_of_two_frontends_is_killed_under_load(stack: Stack) -> None:
    urls, (survivor, victim) = stack.urls(), stack.containers("frontend")
    with Callers(urls) as callers:
        time.sleep(3)
        killed_s = time.monotonic()
        stack.kill(victim)
        time.sleep(6)
    assert_nothing_lost(callers)
    assert {each.url for each in callers.failures} <= {urls[1]}
    # Each of its callers loses the call that was inside it, and nothing else: the next one goes to the other front-end.
    assert len(callers.failures) <= callers.count
    assert callers.outage_s() < 1
    assert callers.answered(killed_s + 4)
    assert eventually(lambda: stack.inspect(victim)["State"].get("Health", {}).get("Status") == "healthy", 30)
    assert stack.inspect(survivor)["RestartCount"] == 0
    with SyncHTTPClient(stack.urls()[1]) as client:  # a new port of the range
        assert client.classify(**FLOWERS[0]["request"]).tolist() == FLOWERS[0]["answer"]
    print(f"\none of two front-ends killed: {callers.told()}")


def test_another_service_is_three_variables_away(stack: Stack, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)  # containers are uid 1000
    export = [COMMAND, "export", "walk:Rows", "--working-dir", str(SERVICES), "--repository", str(tmp_path / "models")]
    subprocess.run(export, check=True, capture_output=True)
    other = Stack(stack.engine)
    other.variables |= {
        "ORCHESTRATOR_SERVICE": "walk:Rows",
        "ORCHESTRATOR_SERVICE_DIR": str(SERVICES),
        "ORCHESTRATOR_REPOSITORY": str(tmp_path / "models"),
    }
    try:
        other.up()
        with SyncHTTPClient(other.urls()[0], server_ready_timeout=30) as client:
            assert client.double([[1, 2, 3]]).tolist() == [[2, 4, 6]]
    finally:
        other.compose("down", "--volumes")


def assert_nothing_lost(callers: Callers) -> None:
    """Every call was answered in the end, rightly, and every failed try said that another one helps."""
    assert callers.unanswered == []
    assert callers.wrong == []
    assert [each.failure for each in callers.failures if not each.retryable] == []


def calls_of(stack: Stack, triton: str) -> int:
    found = COUNTER.search(stack.read(triton, "http://127.0.0.1:8002/metrics"))
    return int(found[1]) if found else 0


def test_down_leaves_nothing(stack: Stack) -> None:
    took = stack.down()
    assert stack.left() == []
    print(f"\ndown -v: {took:.1f} s")
