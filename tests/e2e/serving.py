"""`orchestrator serve` as a user runs it: a process, its address, its log, and what it leaves behind."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "tests" / "services"
COMMAND = str(Path(sys.executable).parent / "orchestrator")


class Serving:
    """A running `orchestrator serve`.

    Args:
        target: `module:Class`.
        options: more of the command line.
        working_dir: folder of the module.
        within: a command that starts it.
    """

    def __init__(self, target: str, *options: str, working_dir: Path = SERVICES, within: Sequence[str] = ()) -> None:
        self.log_path = Path(tempfile.mkstemp(prefix="orchestrator-test-", suffix=".log")[1])
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*within, COMMAND, "serve", target, "--port", "0", "--working-dir", str(working_dir), *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.url = ""

    def __enter__(self) -> Self:
        assert self.process.stdout
        watchdog = threading.Timer(90, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                if line.startswith("ready "):
                    self.url = line.split()[1]
                    return self
        finally:
            watchdog.cancel()
        log = self.log
        self.log_path.unlink()
        raise AssertionError(f"serve ended with {self.process.wait()}: {log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.log_path.unlink(missing_ok=True)

    @property
    def log(self) -> str:
        """Standard error so far."""
        return self.log_path.read_text()

    @property
    def triton(self) -> dict[str, str]:
        """Triton's own addresses, as `host:port`: `http` and `grpc`."""
        match = re.search(r"Triton runs: HTTP http://(\S+), gRPC (\S+), metrics (\S+)", self.log)
        assert match, self.log
        return {"http": match[1], "grpc": match[2], "metrics": match[3]}

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ends the process as a user would, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait()

    def family(self) -> list[psutil.Process]:
        """Every process that came from it: Triton's are not its children only."""
        return [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]


def command_of(process: psutil.Process) -> list[str]:
    """The words of its command line; none once it has ended."""
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def name_of(process: psutil.Process) -> str:
    """What the kernel calls it; nothing once it has ended."""
    try:
        return str(process.name())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Waits for processes to end, and returns those that did not."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return list(alive)


def shm_segments(server: Serving) -> list[str]:
    """Names of a server's shared memory segments: they carry the process id of its command."""
    return [name for name in os.listdir("/dev/shm") if name.startswith(f"orchestrator-{server.process.pid}-")]


def eventually(condition: Callable[[], bool], within_s: float) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
