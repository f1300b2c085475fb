"""TensorFlow, Keras and tf2onnx: 1 GB.

A test module says `pytest_plugins = ["tests.keras_environment"]` and takes the fixture `keras_environment`.
"""

import pytest

from tests.side_environment import SideEnvironment, installed

__all__ = ["KerasEnvironment"]

PACKAGES = ("tensorflow-cpu==2.21.0", "keras==3.15.1", "tf2onnx==1.17.0")


class KerasEnvironment(SideEnvironment):
    """A folder with Keras in it."""

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.fixture(scope="session")
def keras_environment() -> KerasEnvironment:
    """Installed by the first test that asks for it."""
    return KerasEnvironment(installed(PACKAGES))
