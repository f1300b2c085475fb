"""Spans, and what asks for them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from orchestrator.errors import Overloaded
from orchestrator.sdk.context import RunningCall
from orchestrator.sdk.outgoing import count_calls, outgoing
from orchestrator.tracing import Tracing, is_wanted, start_tracing, stop_tracing, tracing
from tests.otlp import Receiver, receiver

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CALLER = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=1"))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as taken:
        for name, value in taken.environment.items():
            monkeypatch.setenv(name, value)
        yield taken


@contextmanager
def traced(service: str = "Unit") -> Iterator[Tracing]:
    start_tracing(service, instance="worker 1")
    means = tracing()
    assert means is not None
    try:
        yield means
    finally:
        stop_tracing()
        assert tracing() is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_ask_for_traces(given: dict[str, str], wanted: bool) -> None:
    assert is_wanted(given) is wanted


def test_a_span_belongs_to_the_callers_trace_and_hands_it_on(taken: Receiver) -> None:
    with traced() as means:
        outer = means.start("outer", CALLER, "server", {"request.id": "r"})
        inner = means.start("inner", outer.trace, "client")
        inner.end()
        outer.end()
    seen = taken.trace(TRACE, 2)
    assert outer.trace_id == TRACE
    assert seen.named("outer").parent == PARENT
    assert seen.named("inner").parent == seen.named("outer").id
    assert dict(outer.trace) == {"traceparent": f"00-{TRACE}-{seen.named('outer').id}-01", "tracestate": "vendor=1"}
    assert (seen.named("outer").kind, seen.named("inner").kind) == (2, 3)
    assert seen.named("outer").attributes == {"request.id": "r"}
    assert {(each.service, each.process.rpartition(" ")[0]) for each in seen} == {("Unit", "worker 1")}


def test_what_the_caller_does_not_record_is_handed_on_and_not_sent(taken: Receiver) -> None:
    with traced() as means:
        span = means.start("one", (("traceparent", f"00-{TRACE}-{PARENT}-00"),))
        span.put("kept", 1)
        span.fail("error")
        span.end()
        assert dict(span.trace)["traceparent"].startswith(f"00-{TRACE}-")
        assert dict(span.trace)["traceparent"].endswith("-00")
        assert (span.is_recorded, span.trace_id) == (False, TRACE)
    assert taken.spans == []


@pytest.mark.parametrize(
    "given", ["", "0-0-0-0", f"00-{TRACE}-{PARENT}-0", "x" * 54 + "0", f"00-{'0' * 32}-{PARENT}-01"]
)
def test_a_context_that_cannot_be_read_begins_a_trace(taken: Receiver, given: str) -> None:
    with traced() as means:
        span = means.start("one", (("traceparent", given),))
        assert span.is_recorded
        span.end()
    assert taken.trace(span.trace_id, 1).named("one").parent == ""


def test_who_samples_without_regard_for_callers_gets_all(taken: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    with traced() as means:
        means.start("one", (("traceparent", f"00-{TRACE}-{PARENT}-00"),)).end()
    assert taken.trace(TRACE, 1).named("one").parent == PARENT


def test_what_is_sampled_out_at_the_beginning_stays_out(taken: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with traced() as means:
        span = means.start("one")
        below = means.start("two", span.trace)
        assert (span.is_recorded, below.is_recorded) == (False, False)
        assert below.trace == span.trace
        assert len(span.trace_id) == 32
        below.end()
        span.end()
    assert taken.spans == []


def test_a_variable_that_cannot_be_used_turns_traces_off_and_not_the_server(
    taken: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    start_tracing("Unit", instance="worker 1")
    assert tracing() is None
    assert "no traces: " in caplog.text


def test_the_service_has_the_name_that_the_variable_gives(taken: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "theirs")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    with traced() as means:
        means.start("one", CALLER).end()
    assert taken.trace(TRACE, 1)[0].service == "theirs"


def test_a_receiver_that_is_away_costs_no_call_anything(taken: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with traced() as means:
        began = time.perf_counter()
        for _ in range(1000):
            means.start("one", CALLER).end()
        assert time.perf_counter() - began < 2


class Counted:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def called(self, target: str, api: str, outcome: str, seconds: float) -> None:
        assert 0 <= seconds < 5
        self.calls.append((target, api, outcome))


@pytest.fixture
def counted() -> Iterator[Counted]:
    counted = Counted()
    count_calls(counted)
    yield counted
    count_calls(None)


def test_calls_that_are_made_for_a_call_are_steps_of_it_and_counted(taken: Receiver, counted: Counted) -> None:
    running = RunningCall("r", trace=CALLER)
    with traced():
        with outgoing("Leaf", "add", running) as step:
            assert step is not None
            with outgoing("both", "", step):
                pass
        with pytest.raises(Overloaded), outgoing("Leaf", "add", running):
            raise Overloaded("a secret")
        with pytest.raises(GeneratorExit), outgoing("Leaf", "count", running):
            raise GeneratorExit
    seen = taken.trace(TRACE, 4)
    assert sorted((each.name, each.failed) for each in seen) == [
        ("call Leaf.add", False),
        ("call Leaf.add", True),
        ("call Leaf.count", False),  # whoever has read enough of a stream does nothing wrong
        ("model both", False),
    ]
    (failed,) = [each for each in seen if each.failed]
    assert failed.attributes == {"error.type": "Overloaded"}
    assert seen.named("model both").parent == next(e.id for e in seen if e.name == "call Leaf.add" and not e.failed)
    assert counted.calls == [
        ("both", "", "ok"),
        ("Leaf", "add", "ok"),
        ("Leaf", "add", "overloaded"),
        ("Leaf", "count", "left"),
    ]


def test_calls_from_nowhere_are_counted_and_no_traces_of_their_own(taken: Receiver, counted: Counted) -> None:
    with traced(), outgoing("Leaf", "add", None) as step:
        assert step is None
    assert (taken.spans, counted.calls) == ([], [("Leaf", "add", "ok")])


def test_off_it_is_not_even_imported() -> None:
    code = """
import sys, orchestrator.worker.executor, orchestrator.engine.composition  # FastAPI has its own idea
from orchestrator.tracing import start_tracing, tracing
start_tracing("x", instance="y")
print(tracing(), [name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "None []\n"


def test_off_a_call_hardly_costs_anything() -> None:
    running = RunningCall("r", trace=CALLER)

    def bare_s() -> float:
        began = time.perf_counter()
        for _ in range(20_000):
            sum(range(100))
        return time.perf_counter() - began

    def around_s() -> float:
        began = time.perf_counter()
        for _ in range(20_000):
            with outgoing("Leaf", "add", running):
                pass
        return time.perf_counter() - began

    bare, around = min(bare_s() for _ in range(3)), min(around_s() for _ in range(3))
    print(f"\n{around / 20_000 * 1e6:.2f} us a call")
    assert around < 5 * bare, "a call over the network is some hundred times that"
