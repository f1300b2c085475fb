"""`orchestrator metrics` beside a server that works."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.composed import place_composed
from tests.e2e.serving import COMMAND, SERVICES, Serving

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = place_composed(tmp_path_factory.mktemp("metrics"))
    shutil.copy(SERVICES / "traced.py", folder)
    with Serving("traced:Root", working_dir=folder) as server:
        over = threading.Event()

        def load() -> None:
            with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as http:
                while not over.is_set():
                    http.post("/through", json={"x": 1})
                    http.post("/fail", json={"how": "fault"})

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            over.set()
            for thread in threads:
                thread.join()


def metrics(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "metrics", *options], capture_output=True, text=True, timeout=60, check=False)


def test_a_table_in_a_pipe(server: Serving) -> None:
    done = metrics("--server", server.url, "--interval", "1")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()]
    assert heading[:6] == ["MODEL", "WHERE", "REQ/S", "P50", "P99", "BATCH"]
    assert [line[:2] for line in lines] == [
        ["Root", "frontend"],
        ["Leaf", "triton"],
        ["Leaf.both", "triton"],
        ["Middle", "frontend"],
    ]
    assert all(float(line[2]) > 0 for line in lines)


def test_json_says_the_same_as_the_counters(server: Serving) -> None:
    done = metrics("--server", server.url, "--interval", "2", "--json")
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["server"], told["service"], told["interval_s"]) == (server.url, "Root", 2)
    root, leaf, both, middle = told["models"]
    # Half of the requests fail; of those that do not, each calls Leaf twice, and that its model.
    assert root["failures_per_s"] == pytest.approx(root["requests_per_s"] / 2, rel=0.3)
    assert leaf["requests_per_s"] == pytest.approx(root["requests_per_s"] * 1.5, rel=0.3)
    assert both["requests_per_s"] == pytest.approx(root["requests_per_s"], rel=0.3)
    assert middle["requests_per_s"] == pytest.approx(root["requests_per_s"], rel=0.3)
    for each in told["models"]:
        assert 0 < each["p50_s"] <= each["p99_s"] < 10, each["name"]
    assert both["batch_rows"] >= 1
    assert 0 < both["queue_s"] < 5
    assert leaf["versions"] == both["versions"] == ["1"]


def test_watching_goes_on_until_ctrl_c(server: Serving) -> None:
    process = subprocess.Popen(
        [COMMAND, "metrics", "--server", server.url, "--watch", "--json", "--interval", "0.3"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert len({line["at"] for line in lines}) == 3
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()


def test_on_a_terminal_the_table_is_drawn_anew(server: Serving) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "metrics", "--server", server.url, "--watch", "--interval", "0.3"],
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140"},
    )
    os.close(theirs)
    shown, end = b"", time.monotonic() + 30
    while shown.count(b"Leaf.both") < 3 and time.monotonic() < end:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    os.close(ours)
    assert shown.count(b"Leaf.both") >= 3
    assert b"\x1b[" in shown
    assert b"Traceback" not in shown


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (["--server", "http://127.0.0.1:9"], 1, "nothing answers at http://127.0.0.1:9"),
        (["--server", "127.0.0.1:9"], 2, "is no URL"),
        (["--server", "http://127.0.0.1:9", "--token-file", "/none"], 2, "--token-file /none: No such file"),
        (["--interval", "0"], 2, "--interval"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: list[str], code: int, error: str) -> None:
    done = metrics(*options)
    assert done.returncode == code
    assert error in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_without_metrics_says_so() -> None:
    with Serving("greeter:Greeter", "--set", "metrics.enabled=false") as server:
        done = metrics("--server", server.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "metrics.enabled=false" in done.stderr
