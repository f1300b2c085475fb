"""What a running graph writes on standard error: JSON where that is asked for, by whatever process, and text else."""

import json
from typing import Any

import httpx2
import pytest

from tests.e2e.serving import Serving, eventually

pytestmark = pytest.mark.e2e
TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def talk(server: Serving) -> None:
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=60, headers=HEADERS) as http:
        assert http.post("/talk", json={"text": "hello"}, headers={"x-request-id": "first"}).status_code == 200
        assert http.post("/fail", headers={"x-request-id": "second"}).status_code == 500


def of(lines: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    """The one line that has these fields."""
    found = [line for line in lines if all(fields[name] in str(line.get(name)) for name in fields)]
    assert len(found) == 1, (fields, found)
    return found[0]


@pytest.mark.parametrize(
    "options", [["--set", "logging.format=json"], ["--workers", "2"]], ids=["by key", "by variable, two processes"]
)
def test_all_lines_are_json_and_those_of_a_call_say_which(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if "--set" not in options:
        monkeypatch.setenv("ORCHESTRATOR_LOG_FORMAT", "json")
    with Serving("logging_graph:Root", *options) as server:
        talk(server)
        assert eventually(lambda: "/fail 500" in server.log, 5)
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log.splitlines()]
    assert all({"time", "level", "logger", "message", "process"} <= line.keys() for line in lines)
    assert of(lines, message="Triton runs:")["process"] == "command"
    for service, process in (("Root", "front-end"), ("Leaf", "worker 1")):
        heard = of(lines, message=f"the {'root' if service == 'Root' else 'leaf'} heard hello")
        assert (heard["logger"], heard["level"]) == ("their.own", "info")
        assert (heard["service"], heard["request_id"], heard["trace_id"]) == (service, "first", TRACE)
        assert heard["process"].startswith(process)
    assert of(lines, message="printed hello")["logger"] == "output"
    failed = of(lines, service="Leaf", exception="ValueError: in the leaf")
    assert (failed["level"], failed["request_id"], failed["trace_id"]) == ("error", "second", TRACE)
    assert of(lines, service="Leaf", message="it will fail")["level"] == "warning"
    accesses = [line for line in lines if line["logger"] == "orchestrator.access"]
    assert [(line["path"], line["status"], line["request_id"]) for line in accesses] == [
        ("/talk", 200, "first"),
        ("/fail", 500, "second"),
    ]
    assert all(line["duration_ms"] > 0 for line in accesses)


def test_text_is_the_default_and_leaves_the_users_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRATOR_LOG_FORMAT", raising=False)
    with Serving("logging_graph:Root") as server:
        talk(server)
        assert eventually(lambda: "path=/fail" in server.log, 5)
        log = server.log
    assert "theirs the leaf heard hello" in log
    assert "theirs the root heard hello" in log
    assert [line for line in log.splitlines() if line.startswith("{")] == []
