"""Large frameworks beside our environment and not in it, for the few tests that need them.

The first run installs one into a folder below `sys.prefix`; a test runs a process of our Python with that folder on its path,
so that numpy, onnxruntime and we ourselves are those of every other test.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

__all__ = ["ROOT", "SideEnvironment", "installed"]

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(sys.prefix) / "test-environments"


@dataclass(frozen=True)
class SideEnvironment:
    """A folder with packages in it.

    Attributes:
        folder: for PYTHONPATH.
    """

    folder: Path

    def run(self, *arguments: str | Path, timeout_s: float = 280) -> str:
        """Runs our Python with those packages; returns what it prints.

        Args:
            arguments: of the interpreter: `-c CODE`, `-m MODULE` or a file, and what follows.

        Raises:
            AssertionError: it failed; the end of its output is the message.
        """
        ran = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=ROOT,
            env=self.variables,
            check=False,
        )
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
        return ran.stdout

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that has the packages."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT))),
            # A framework's threads and onnxruntime's wait for each other by spinning: one each is faster by far.
            "OMP_NUM_THREADS": "1",
        }


def installed(packages: Sequence[str]) -> Path:
    """The folder with some packages, the first of which names it; without what our own environment has.

    Fails the test, and does not skip it, where they cannot be had.
    """
    folder = CACHE / f"{packages[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not done.exists() or done.read_text() != "\n".join(packages):
            shutil.rmtree(folder, ignore_errors=True)
            ours = CACHE / f"{folder.name}.ours"
            ours.write_text("\n".join(sorted(package.name for package in distributions())))
            # What we have stays ours: numpy 2 beside Triton, say, would be fatal.
            places = ["--target", str(folder), "--constraints", str(ROOT / "constraints.txt"), "--excludes", str(ours)]
            uv = [str(Path(sys.prefix) / "bin" / "uv"), "pip", "install", "--quiet", "--python", sys.executable]
            ran = subprocess.run([*uv, *places, *packages], capture_output=True, text=True, check=False)
            if ran.returncode:
                pytest.fail(f"uv cannot install {' '.join(packages)}:\n{ran.stderr[-3000:]}")
            done.write_text("\n".join(packages))
    return folder
