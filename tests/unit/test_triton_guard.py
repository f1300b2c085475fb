"""The guard and the removal of leftovers, with a small program in Triton's place."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.triton import leftovers
from orchestrator.triton.command import SERVER_ID_VARIABLE

GUARD = Path(leftovers.__file__).with_name("guard.py")
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
# A worker in a session of its own whose parent ends: nothing but the subreaper knows it.
worker = "import signal, time; signal.signal(15, signal.SIG_IGN); print('worker', flush=True); time.sleep(600)"
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, "-c", worker])
    os._exit(0)
open(sys.argv[1] + "segment", "w").close()
time.sleep(600)
"""


@dataclass
class Guarded:
    claim: leftovers.Claim
    process: subprocess.Popen[bytes]

    def traces(self) -> list[str]:
        return [
            *(str(path) for path in Path("/dev/shm").glob(f"{self.claim.server_id}*")),
            *(str(self.claim.run_dir) for _ in range(self.claim.run_dir.exists())),
            *(f"pid {pid}" for pid in leftovers._processes(self.claim.server_id)),
        ]


Starter = Callable[..., Guarded]


@pytest.fixture
def guarded() -> Iterator[Starter]:
    started: list[Guarded] = []

    def start(program: str, *, grace_s: float = 0.3) -> Guarded:
        claim = leftovers.claim()
        command = [
            *(sys.executable, "-I", "-S", GUARD, grace_s, claim.shm_prefix, claim.run_dir, claim.lock_fd),
            *(sys.executable, "-c", program, f"/dev/shm/{claim.shm_prefix}"),
        ]
        process = subprocess.Popen(
            [str(each) for each in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, SERVER_ID_VARIABLE: claim.server_id},
            pass_fds=[claim.lock_fd],
            start_new_session=True,
        )
        os.close(claim.lock_fd)
        started.append(Guarded(claim, process))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        leftovers.remove(each.claim.server_id, each.claim.run_dir)
        for pipe in (each.process.stdin, each.process.stdout):
            assert pipe
            pipe.close()


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def first_line(guarded: Guarded) -> bytes:
    assert guarded.process.stdout
    return guarded.process.stdout.readline()


def test_the_exit_code_comes_through(guarded: Starter) -> None:
    one = guarded("raise SystemExit(7)")
    assert one.process.wait(10) == 7
    assert one.traces() == []


def test_a_signals_number_comes_through(guarded: Starter) -> None:
    assert guarded("import os; os.kill(os.getpid(), 6)").process.wait(10) == 128 + 6


def test_a_program_that_is_not_there_is_told(guarded: Starter) -> None:
    one = guarded("")
    assert one.process.wait(10) == 0
    claim = leftovers.claim()
    command = [sys.executable, "-I", "-S", GUARD, 1, claim.shm_prefix, claim.run_dir, claim.lock_fd, "/no/such/program"]
    done = subprocess.run(
        [str(each) for each in command],
        stdin=subprocess.PIPE,
        capture_output=True,
        pass_fds=[claim.lock_fd],
        check=False,
    )
    os.close(claim.lock_fd)
    assert done.returncode == 127
    assert b"cannot start /no/such/program" in done.stderr


def test_a_graceful_end_is_waited_for(guarded: Starter) -> None:
    one = guarded(
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.5); print('drained', flush=True); sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)",
        grace_s=30,
    )
    assert first_line(one) == b"up\n"
    assert one.process.stdin
    one.process.stdin.close()
    assert first_line(one) == b"drained\n"
    assert one.process.wait(10) == 3
    assert one.traces() == []


@pytest.mark.parametrize("how", ["end of file", "order", "SIGTERM", "order to kill"])
def test_nothing_survives_the_grace(guarded: Starter, how: str) -> None:
    one = guarded(STUBBORN, grace_s=600 if how.startswith("order") else 0.3)
    assert first_line(one) == b"worker\n"
    assert one.process.stdin
    if how == "end of file":
        one.process.stdin.close()
    elif how == "SIGTERM":
        one.process.terminate()
    else:
        # The second order can only shorten the time, never lengthen it.
        one.process.stdin.write(b"stop 600\nstop 0\n" if how == "order to kill" else b"stop 0.2\nstop 600\n")
        one.process.stdin.flush()
    assert one.process.wait(10) == 128 + 9
    assert one.traces() == []


def test_a_terminals_interrupt_is_not_for_the_server(guarded: Starter) -> None:
    one = guarded("print('up', flush=True); import time; time.sleep(600)")
    assert first_line(one) == b"up\n"
    one.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert one.process.poll() is None


def test_a_killed_guard_takes_the_server_along_and_a_sweep_removes_the_rest(guarded: Starter) -> None:
    one = guarded(STUBBORN)
    assert first_line(one) == b"worker\n"
    server = int((one.claim.run_dir / "pid").read_text())
    one.process.kill()
    one.process.wait()
    wait_for(lambda: server not in leftovers._processes(one.claim.server_id))
    assert one.traces()  # the stubborn worker, the segment, the run directory, the lock
    assert one.claim.server_id in leftovers.sweep()
    wait_for(lambda: one.traces() == [])


def test_a_living_server_is_not_swept(guarded: Starter) -> None:
    one = guarded(STUBBORN)
    assert first_line(one) == b"worker\n"
    before = one.traces()
    assert one.claim.server_id not in leftovers.sweep()
    assert one.traces() == before
    assert one.process.poll() is None


def test_segments_without_a_lock_are_swept() -> None:
    claim = leftovers.claim()
    os.close(claim.lock_fd)
    leftovers.remove(claim.server_id, claim.run_dir)
    segment = Path(f"/dev/shm/{claim.shm_prefix}segment")
    segment.touch()
    leftovers.sweep()
    assert not segment.exists()


def test_a_forged_lock_cannot_remove_a_foreign_folder(tmp_path: Path) -> None:
    claim = leftovers.claim()
    lock = Path(f"/dev/shm/{claim.shm_prefix}lock")
    lock.write_text(f'{{"run_dir": "{tmp_path}"}}')
    fcntl.flock(claim.lock_fd, fcntl.LOCK_UN)
    leftovers.sweep()
    os.close(claim.lock_fd)
    assert not lock.exists()
    assert tmp_path.is_dir()
    claim.run_dir.rmdir()
