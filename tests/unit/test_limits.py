"""What a worker may take of the machine's memory, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.worker import limits

LIMITED = """
import sys, threading
import numpy as np
from orchestrator.worker.limits import limit_memory
kept = np.ones({held} << 20, np.uint8)
limit_memory("Shop", {most} << 20, threads=4)
threads = [threading.Thread(target=threading.Event().wait, args=(0.5,)) for _ in range(4)]
for thread in threads:
    thread.start()
try:
    more = np.ones({more} << 20, np.uint8)
    print("allocated")
except MemoryError:
    print("MemoryError")
small = np.ones(1 << 20, np.uint8)
print("goes on", int(kept.sum()) >> 20)
"""


def run(held: int, most: int, more: int) -> subprocess.CompletedProcess[str]:
    code = LIMITED.format(held=held, most=most, more=more)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("more", "outcome"), [(250, "allocated"), (600, "MemoryError")])
def test_what_is_over_the_limit_fails_and_the_process_goes_on(more: int, outcome: str) -> None:
    done = run(100, 500, more)
    assert done.stdout.split("\n")[:2] == [outcome, "goes on 100"], done.stderr


def test_a_worker_that_takes_more_from_the_start_is_refused() -> None:
    done = run(300, 200, 1)
    assert done.returncode == 1
    assert "MiB of memory once it is loaded, and resources.memory_limit is 200 MiB (raise it" in done.stderr


def test_a_worker_is_chosen_before_others_when_memory_runs_out() -> None:
    code = (
        "from orchestrator.worker.limits import die_first; die_first(); print(open('/proc/self/oom_score_adj').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) >= 500 > int(Path("/proc/self/oom_score_adj").read_text())


def test_a_system_that_cannot_be_told_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_PROCESS", tmp_path)
    limits.die_first()
