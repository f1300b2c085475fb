"""Log lines as JSON."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from orchestrator.logs import FORMAT_VARIABLE, JsonFormatter, json_line, log_as_json, logged_request
from orchestrator.sdk.context import RunningCall, running_call
from orchestrator.sdk.logged import logged_call
from orchestrator.server.access import ACCESS_LOGGER, AccessLogger
from orchestrator.spec import AccessLog
from orchestrator.triton.output import structured

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A logger `unit` whose lines are read back."""
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(self.format(record))

    handler = Kept()
    handler.setFormatter(JsonFormatter(service="Greeter", process="worker 1", call=logged_call))
    logger = logging.getLogger("unit")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in written]
    logger.removeHandler(handler)


def test_a_line_says_when_what_and_who(lines: Callable[[], list[dict[str, Any]]]) -> None:
    before = datetime.now(UTC)
    logging.getLogger("unit").warning("%s is %d\nand more", "x", 3)
    (line,) = lines()
    assert before <= datetime.fromisoformat(line.pop("time")) <= datetime.now(UTC)
    assert line.pop("pid") > 0
    assert line == {
        "level": "warning",
        "logger": "unit",
        "message": "x is 3\nand more",
        "service": "Greeter",
        "process": "worker 1",
    }


def test_a_line_of_a_call_has_its_request_and_its_trace(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logger = logging.getLogger("unit")
    of_request = logged_request.set(("of-http", TRACE[::-1]))
    logger.info("on the front-end")
    of_call = running_call.set(RunningCall("of-call", trace=(("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),)))
    logger.info("in a method")
    running_call.reset(of_call)
    without = running_call.set(RunningCall("of-call"))
    logger.info("in a method that nobody traces")
    running_call.reset(without)
    logged_request.reset(of_request)
    assert [(line.get("request_id"), line.get("trace_id")) for line in lines()] == [
        ("of-http", TRACE[::-1]),
        ("of-call", TRACE),
        ("of-call", None),
    ]


def test_an_exception_is_one_field_with_its_causes(lines: Callable[[], list[dict[str, Any]]]) -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        logging.getLogger("unit").exception("it failed")
    (line,) = lines()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert "KeyError: 'inner'" in line["exception"]
    assert line["exception"].endswith("ValueError: outer\n")


def test_extra_fields_are_kept_whatever_they_are(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("unit").info(
        "x", extra={"rows": 3, "kind": object, "big": 2**70, "broken": "\ud800", "nan": float("nan")}
    )
    (line,) = lines()
    assert "object" in line["kind"]
    assert (str(line["rows"]), str(line["big"])) == ("3", str(2**70))


def test_a_line_that_cannot_be_made_does_not_fail_the_code() -> None:
    formatter = JsonFormatter(service="", process="worker 1")
    # Not through a logger: pytest's own handler raises what is wrong with a line.
    broken = logging.LogRecord("unit", logging.INFO, "", 0, "%d of %d", (1,), None)
    assert "%d of %d" in json.loads(formatter.format(broken))["message"]
    long = logging.LogRecord("unit", logging.INFO, "", 0, "x" * 100_000, None, None)
    assert 1000 < len(formatter.format(long)) < 64_000, "Triton's output is read by lines of bounded length"


@pytest.mark.parametrize(
    ("given", "level", "logger", "message"),
    [
        ('W1126 04:10:20.000001 77 model.cc:12] "a warning"', "warning", "triton", '"a warning"'),
        ("E1126 04:10:20.000001 77 model.cc:12] an error", "error", "triton", "an error"),
        ("printed by a method", "info", "output", "printed by a method"),
        ('{"not": "ours"}', "info", "output", '{"not": "ours"}'),
        ('{"broken', "info", "output", '{"broken'),
        ("{'a': 1}", "info", "output", "{'a': 1}"),
    ],
)
def test_lines_of_triton_and_prints_become_json(given: str, level: str, logger: str, message: str) -> None:
    line = json.loads(structured(given))
    assert (line["level"], line["logger"], line["message"]) == (level, logger, message)


def test_a_workers_own_json_is_left_as_it_is() -> None:
    line = json_line("info", "x", "y")
    assert structured(line) == line


def test_it_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    before = list(logging.getLogger().handlers)
    assert log_as_json(service="s", process="p") is False
    assert logging.getLogger().handlers == before


def test_the_users_own_loggers_write_json_too() -> None:
    code = """
import logging, warnings
from orchestrator.logs import log_as_json
assert log_as_json(service="s", process="worker 1")
logging.basicConfig(level=logging.ERROR, format="theirs %(message)s")
logging.getLogger("theirs").info("kept")
warnings.warn("take care")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={FORMAT_VARIABLE: "json"}
    )
    kept, warned = map(json.loads, done.stderr.splitlines())
    assert (kept["logger"], kept["message"], kept["service"]) == ("theirs", "kept", "s")
    assert "UserWarning: take care" in warned["message"]


async def _answering(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"5"), (b"x-request-id", b"mine")]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"x-trace-id", TRACE.encode())]})
    await send({"type": "http.response.body", "body": b"12345"})


SCOPE = {
    "type": "http",
    "scheme": "http",
    "method": "POST",
    "path": "/ä\n",
    "raw_path": b"/%C3%A4%0A",
    "client": ("127.0.0.1", 41234),
    "headers": [(b"host", b"h"), (b"content-type", b"application/json"), (b"content-length", b"17")],
}


async def _dropped(message: Message) -> None:
    pass


async def _nothing() -> Message:
    raise AssertionError("nobody reads it")


def accessed(capture: pytest.LogCaptureFixture) -> logging.LogRecord:
    logging.getLogger(ACCESS_LOGGER).setLevel(logging.INFO)
    with capture.at_level(logging.INFO, ACCESS_LOGGER):
        app = AccessLogger(_answering, options=AccessLog(enabled=True, response_content_length=False), prefix="")
        asyncio.run(app(dict(SCOPE), _nothing, _dropped))
        app.flush()
    return capture.records[-1]


def test_an_access_line_as_text(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(FORMAT_VARIABLE, raising=False)
    head, _, tail = accessed(caplog).getMessage().partition(" (status=")
    assert head == "127.0.0.1:41234 (scheme=http,method=POST,path=/%C3%A4%0A,type=application/json,length=17)"
    assert tail.startswith("200,type=text/plain) ")
    assert tail.endswith(f"ms (request=mine,trace={TRACE})")


def test_an_access_line_as_json(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    line = json.loads(JsonFormatter(service="Greeter", process="front-end").format(accessed(caplog)))
    assert 0 <= line.pop("duration_ms") < 1000
    assert {name: value for name, value in line.items() if name not in ("time", "pid", "process", "service")} == {
        "level": "info",
        "logger": "orchestrator.access",
        "message": "POST /%C3%A4%0A 200",
        "client": "127.0.0.1:41234",
        "scheme": "http",
        "method": "POST",
        "path": "/%C3%A4%0A",
        "status": 200,
        "request_type": "application/json",
        "request_length": "17",
        "response_type": "text/plain",
        "request_id": "mine",
        "trace_id": TRACE,
    }


def test_an_access_line_costs_little(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside one line of the standard library's to the same file: the front-end needs some 300 us for a request."""
    monkeypatch.setenv(FORMAT_VARIABLE, "json")
    logger, plain = logging.getLogger(ACCESS_LOGGER), logging.getLogger("unit.plain")
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(JsonFormatter(service="Greeter", process="front-end"))
    bare = logging.FileHandler(tmp_path / "plain")
    for each, to in ((logger, handler), (plain, bare)):
        each.handlers, each.propagate = [to], False
        each.setLevel(logging.INFO)
    app = AccessLogger(_answering, options=AccessLog(enabled=True), prefix="")

    async def accesses() -> None:
        for _ in range(1000):
            await app(dict(SCOPE), _nothing, _dropped)
        app.flush()

    def plains() -> None:
        for _ in range(1000):
            plain.info("%s %s", "a", "b")

    def best_us(work: Callable[[], Any]) -> float:
        taken = []
        for _ in range(5):
            began = time.process_time()
            work()
            taken.append(time.process_time() - began)
        return min(taken) * 1000

    access_us, plain_us = best_us(lambda: asyncio.run(accesses())), best_us(plains)
    for each, to in ((logger, handler), (plain, bare)):
        each.handlers, each.propagate = [], True
        to.close()
    print(f"\n{access_us:.1f} us an access line, {plain_us:.1f} us a line of the standard library's")
    assert access_us < 3.5 * plain_us
