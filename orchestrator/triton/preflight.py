"""What can be known to be wrong before Triton starts.

Each check takes its facts as arguments and raises a `ServerProcessError` with the way out; `preflight` gathers them.
Most of these faults are silent or late otherwise: with numpy 2 every model loads and answers with empty tensors.
"""

import importlib.metadata
import mmap
import os
import platform
import shutil
import socket
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from orchestrator.errors import ServerProcessError
from orchestrator.triton.install import TritonInstall

__all__ = ["MIN_SHM_BYTES", "check_numpy", "check_port", "check_python", "check_shm", "choose_libpython", "preflight"]

MIN_SHM_BYTES = 64 << 20
"""Free shared memory that a start wants: a worker takes 1 MiB at once and grows with its largest tensors."""

_SHM = Path("/dev/shm")  # noqa: S108
_SUPPORTED = ("3.11", "3.12")


def check_python(version: str, stubs: Collection[str]) -> None:
    """Whether Triton's workers can be the running Python.

    Args:
        version: of the running Python, as `"3.11"`.
        stubs: versions that the server has worker programs for.
    """
    if version not in _SUPPORTED:
        raise ServerProcessError(
            f"Python {version} cannot run the embedded Triton server", hint=f"use Python {' or '.join(_SUPPORTED)}"
        )
    if version not in stubs:
        raise ServerProcessError(
            f"the installed nvidia-pytriton has no worker for Python {version}",
            hint="reinstall it: pip install --force-reinstall --no-deps nvidia-pytriton==0.7.0",
        )


def check_numpy(version: str | None) -> None:
    """Whether the workers' numpy is one that the backend was built for.

    Args:
        version: of the installed numpy, None for none.
    """
    hint = "pip install 'numpy>=1.26,<2'"
    if version is None:
        raise ServerProcessError("numpy is not installed, and Triton's Python workers need it", hint=hint)
    if int(version.partition(".")[0]) >= 2:
        raise ServerProcessError(
            f"numpy {version} does not work with Triton 24.10: models would load and answer with empty tensors",
            hint=hint,
        )


def check_shm(free_bytes: int | None, *, writable: bool, need_bytes: int = MIN_SHM_BYTES) -> None:
    """Whether Triton and its workers can pass tensors to each other.

    Args:
        free_bytes: in the shared memory, None where there is no such folder.
        writable: whether this user may write there.
    """
    hint = "in a container, start it with --shm-size=1g or --ipc=host"
    if free_bytes is None:
        raise ServerProcessError(f"{_SHM} does not exist, and Triton passes tensors through it", hint=hint)
    if not writable:
        raise ServerProcessError(f"{_SHM} is not writable, and Triton passes tensors through it", hint="chmod 1777 it")
    if free_bytes < need_bytes:
        raise ServerProcessError(
            f"{_SHM} has {free_bytes >> 20} MiB free, Triton needs {need_bytes >> 20} MiB",
            hint=f"{hint}; on a host, remove what other programs left there",
        )


def check_port(use: str, port: int, *, free: bool) -> None:
    """Whether Triton can listen on a port that was asked for.

    Args:
        use: what it is for, as `"http"`.
        free: whether it could be bound.
    """
    if not free:
        raise ServerProcessError(
            f"port {port} for Triton's {use} is in use", hint="end what uses it, or let a free one be chosen"
        )


def choose_libpython(name: str, version: str, candidates: Iterable[tuple[Path, bool]]) -> Path:
    """Picks the library that the workers load as their Python.

    Args:
        name: its file name, as `libpython3.11.so.1.0`.
        version: the running Python's, with patch release, as `3.11.7`.
        candidates: files of that name, best first, and whether each is of exactly that version. Another patch release
            would run the running Python's standard library in a different interpreter, which breaks multiprocessing.
    """
    others = []
    for path, same in candidates:
        if same:
            return path
        others.append(path)
    short = ".".join(version.split(".")[:2])
    found = f"; {', '.join(map(str, others))} is of another patch release" if others else ""
    raise ServerProcessError(
        f"{name} of Python {version} was not found, and Triton's workers load it{found}",
        hint=(
            f"Debian, Ubuntu: apt-get install libpython{short}; "
            f"pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {version}"
        ),
    )


def preflight(install: TritonInstall, ports: Mapping[str, int]) -> Path:
    """Runs every check against this machine.

    Args:
        ports: the ports that were asked for, by what they are for.

    Returns:
        The libpython that the workers must load.

    Raises:
        ServerProcessError: on the first thing that would keep Triton from working.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    check_python(version, install.stubs)
    check_numpy(_installed("numpy"))
    check_shm(shutil.disk_usage(_SHM).free if _SHM.is_dir() else None, writable=os.access(_SHM, os.W_OK | os.X_OK))
    for use, port in ports.items():
        check_port(use, port, free=_can_bind(port))
    name = f"libpython{version}.so.1.0"
    return choose_libpython(name, platform.python_version(), _libpythons(name, platform.python_version()))


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Triton does: a closing connection is no user
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _libpythons(name: str, version: str) -> Iterable[tuple[Path, bool]]:
    # A Python that is itself linked against the library has it mapped: the right one by construction.
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.endswith(f"/{name}"):
            yield Path(line[line.index("/") :]), True
            return
    # The base prefix, not the venv's. LIBDIR is a build-time path in relocatable Pythons (uv): the prefix counts, too.
    folders = [sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib", "/usr/local/lib", "/usr/lib", "/usr/lib64"]
    if multiarch := sysconfig.get_config_var("MULTIARCH"):
        folders += [f"{sys.base_prefix}/lib/{multiarch}", f"/usr/lib/{multiarch}", f"/lib/{multiarch}"]
    for path in dict.fromkeys(Path(folder, name) for folder in folders if folder):
        if path.is_file():
            yield path, _holds_version(path, version)


def _holds_version(library: Path, version: str) -> bool:
    """Whether a libpython says it is of this version, without loading a second interpreter into this process."""
    needle = version.encode() + b"\0"
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(needle)
        while at >= 0:
            if at == 0 or content[at - 1 : at] not in b".0123456789":
                return True
            at = content.find(needle, at + 1)
    return False
