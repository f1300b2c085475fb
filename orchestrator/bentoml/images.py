"""`bentoml.images.Image`, so that the files of BentoML's users run as they are: it says how an image would be built.

Nothing builds one yet. What is asked for is kept, in order, for the time when something does.
"""

from typing import Any, Self

__all__ = ["Image"]


class Image:
    """A description of a container image; every method adds to it and returns it.

    Attributes:
        options: what it was made with (`python_version`, `distro`, `base_image` ...).
        steps: name of the method and its arguments, in order.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.steps: list[tuple[str, tuple[Any, ...]]] = []

    def python_packages(self, *packages: str) -> Self:
        return self._step("python_packages", *packages)

    def requirements_file(self, path: str) -> Self:
        return self._step("requirements_file", path)

    def pyproject_toml(self, path: str = "pyproject.toml") -> Self:
        return self._step("pyproject_toml", path)

    def uv_lock(self, path: str = "uv.lock") -> Self:
        return self._step("uv_lock", path)

    def system_packages(self, *packages: str) -> Self:
        return self._step("system_packages", *packages)

    def run(self, command: str) -> Self:
        return self._step("run", command)

    def run_script(self, path: str) -> Self:
        return self._step("run_script", path)

    def build_include(self, *patterns: str) -> Self:
        return self._step("build_include", *patterns)

    def _step(self, name: str, *arguments: Any) -> Self:
        self.steps.append((name, arguments))
        return self
