"""A service with `cmd` through `orchestrator serve`: no Triton is there."""

import re
import signal
import subprocess
import time
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.e2e.serving import COMMAND, SERVICES, Serving, command_of, eventually, gone, name_of


def get(server: Serving, path: str) -> httpx2.Response:
    return httpx2.get(server.url + path, timeout=20, trust_env=False)


def upstreams(server: Serving) -> list[psutil.Process]:
    return [each for each in server.family() if command_of(each)[1:2] == ["upstream.py"]]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_process_answers(workers: str) -> None:
    with Serving("commands:Upstream", "--workers", workers, "--set", "envs.MORE=1") as server:
        found = httpx2.post(f"{server.url}/echo", content=b"hello", trust_env=False).json()
        assert found["body"] == "hello"
        assert found["cwd"] == str(SERVICES)
        environment = found["environment"]
        assert (environment["GREETING"], environment["MORE"]) == ("hello", "1")
        assert f"starting python upstream.py {environment['PORT']}\n" in server.log
        assert "upstream starts\n" in server.log
        assert "Triton" not in server.log
        started = time.monotonic()
        with httpx2.stream("GET", f"{server.url}/count?to=5&pause=0.3", trust_env=False) as answer:
            assert next(answer.iter_lines()) == "0"
            assert time.monotonic() - started < 1
        assert get(server, "/readyz").status_code == 200
        assert "orchestrator_requests_total" in get(server, "/metrics").text
        assert len(upstreams(server)) == 1
        family = server.family()
        assert server.stop() == 0
        assert gone(family, 8) == []


def test_the_command_of_a_method_runs_at_the_port_of_the_configuration() -> None:
    with Serving("commands:ByMethod") as server:
        assert get(server, "/echo").json()["environment"]["PORT"] == "28431"
        done = subprocess.run(
            [COMMAND, "serve", "commands:ByMethod", "--port", "0", "--working-dir", str(SERVICES)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "http.proxy_port=28431: the service's process cannot listen there" in done.stderr
        family = server.family()
        assert server.stop() == 0
        assert gone(family, 8) == []  # the shell's child too


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_serve_leaves_no_process(workers: str) -> None:
    with Serving("commands:Upstream", "--workers", workers) as server:
        family = server.family()
        assert len(upstreams(server)) == 1
        server.stop(signal.SIGKILL)
        assert gone(family, 8) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_process_that_ends_ends_serve(workers: str) -> None:
    with Serving("commands:Upstream", "--workers", workers) as server:
        family = server.family()
        assert get(server, "/end?code=9").status_code == 502
        assert server.process.wait(15) == 4
        assert server.log.splitlines()[-1] == "error: the process of Upstream ended (exit code 9): upstream starts"
        assert gone(family, 8) == []


def test_a_stubborn_process_is_killed_after_its_time(tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(
        "import http.server, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('not yet', flush=True))\n"
        "http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))\n"
    )
    (tmp_path / "service.py").write_text(
        "import orchestrator\n@orchestrator.service(cmd=['python', 'stubborn.py', '$PORT'])\nclass Stubborn: ...\n"
    )
    with Serving("service:Stubborn", working_dir=tmp_path) as server:
        assert "stubborn.py" in get(server, "/").text
        family = server.family()
        started = time.monotonic()
        assert server.stop() == 0
        assert 4 < time.monotonic() - started < 9
        assert server.log.count("not yet") == 1
        assert gone(family, 8) == []


@pytest.mark.parametrize(
    ("target", "options", "code", "error"),
    [
        (
            "commands:Ends",
            [],
            4,
            r"the process of Ends ended before it was ready \(exit code 7\): it has no licence",
        ),
        (
            "commands:Upstream",
            ["--set", 'cmd=["no-such-program", "$PORT"]'],
            4,
            r"the command of Upstream cannot be started: there is no program 'no-such-program'",
        ),
        (
            "commands:Upstream",
            ["--set", 'cmd=["./upstream.py"]'],
            4,
            r"the command of Upstream cannot be started: there is no program './upstream.py'",
        ),
        (
            "commands:Upstream",
            ["--set", 'cmd=["sleep", "0.2"]'],
            4,
            r"the process of Upstream ended before it was ready \(exit code 0\)",
        ),
    ],
)
def test_a_process_that_does_not_start_is_one_line(target: str, options: list[str], code: int, error: str) -> None:
    with pytest.raises(AssertionError, match=f"serve ended with {code}"), Serving(target, *options) as server:
        pass
    server = Serving(target, *options)
    assert server.process.wait(30) == code
    assert re.search(rf"^error: {error}$", server.log, re.MULTILINE), server.log
    assert "Traceback" not in server.log
    assert server.stop() == code
    server.log_path.unlink()


def test_serve_can_be_stopped_while_the_process_starts() -> None:
    server = Serving("commands:Upstream", "--set", 'cmd=["sleep", "600"]')
    assert eventually(lambda: "starting sleep 600" in server.log, 30)
    assert eventually(lambda: any("sleep" in name_of(each) for each in server.family()), 10)
    family = server.family()
    assert server.stop() == 0
    assert gone(family, 8) == []
    server.log_path.unlink()
