"""Finds the Triton server in the installed `nvidia-pytriton` wheel, and lays out its Python backend for one server.

The wheel is never imported: its package pulls in a client stack that we do not use, and its own process handling.
"""

import contextlib
import importlib.util
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ServerProcessError

__all__ = ["TritonInstall", "find_install", "lay_out_backends"]

_HINT = "pip install 'triton-orchestrator[embedded]'"


@dataclass(frozen=True, slots=True)
class TritonInstall:
    """Where the parts of one Triton server lie. Nothing in here is ours to change.

    Attributes:
        binary: the `tritonserver` program.
        python_backend: folder with `libtriton_python.so` and `triton_python_backend_utils.py`.
        stubs: worker program by Python version (`"3.11"`).
        caches: folder with the response caches, as `--cache-directory` wants it.
        libraries: folder with the shared libraries that the wheel brought along.
    """

    binary: Path
    python_backend: Path
    stubs: dict[str, Path]
    caches: Path
    libraries: Path

    def stub(self, version: str) -> Path:
        """The worker program for a Python version (`"3.11"`).

        Raises:
            ServerProcessError: the wheel has none.
        """
        if version not in self.stubs:
            raise ServerProcessError(
                f"the Triton server has no Python worker for Python {version}",
                hint=f"it has some for {', '.join(sorted(self.stubs)) or 'none: reinstall nvidia-pytriton'}",
            )
        return self.stubs[version]


def find_install(package: Path | None = None) -> TritonInstall:
    """Finds the server.

    Args:
        package: folder of the `pytriton` package where it is not importable from here (`pip install --target`);
            None looks where Python looks.

    Raises:
        ServerProcessError: the wheel is missing or incomplete.
    """
    if package is None:
        spec = importlib.util.find_spec("pytriton")
        if spec is None or spec.origin is None:
            raise ServerProcessError("the Triton server is not installed", hint=_HINT)
        package = Path(spec.origin).parent
    root = package / "tritonserver"
    install = TritonInstall(
        binary=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stubs={path.parent.name: path for path in root.glob("python_backend_stubs/*/triton_python_backend_stub")},
        caches=root / "caches",
        libraries=package.parent / "nvidia_pytriton.libs",
    )
    for part in (install.binary, install.python_backend / "libtriton_python.so"):
        if not part.is_file():
            raise ServerProcessError(
                f"the installed nvidia-pytriton is incomplete: {part} is missing",
                hint="reinstall it: pip install --force-reinstall --no-deps nvidia-pytriton==0.7.0",
            )
    return install


def lay_out_backends(install: TritonInstall, target: Path, version: str | None = None) -> Path:
    """Makes one server's backend folder: the wheel keeps the backend and its workers apart, Triton wants them together.

    Links suffice: the loader resolves the worker's `$ORIGIN` through them. Where the file system has none the files are
    copied, and then find their libraries by `LD_LIBRARY_PATH` (see `command.environment`).

    Args:
        target: a folder, made here.
        version: Python version of the workers (`"3.11"`); None for the running one.

    Returns:
        `target`, for `--backend-directory`.

    Raises:
        ServerProcessError: no worker for this Python.
    """
    stub = install.stub(version or f"{sys.version_info.major}.{sys.version_info.minor}")
    folder = target / "python"
    folder.mkdir(parents=True)
    for source in (*install.python_backend.iterdir(), stub):
        if source.is_file():
            link_or_copy(source, folder / source.name)
    return target


def link_or_copy(source: Path, target: Path) -> None:
    with contextlib.suppress(OSError):
        target.symlink_to(source.resolve())
        return
    shutil.copy2(source, target)
