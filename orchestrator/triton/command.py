"""tritonserver's command line and environment, as plain data.

Every option that is not obvious has its measured reason beside it.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.engine.heartbeat import SERVER_ID_VARIABLE
from orchestrator.triton.install import TritonInstall

__all__ = ["SERVER_ID_VARIABLE", "Ports", "ServerOptions", "command_line", "environment", "free_ports", "has_gpu"]

LOOPBACK = "127.0.0.1"
_METRICS: Final = ("summary_latencies=true", "summary_quantiles=0.5:0.02,0.99:0.002")
"""Quantiles of each model's last minute: Triton has no histograms of whole requests."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of one server."""

    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What a caller may choose about a server.

    Attributes:
        gpu: whether Triton may use a GPU; None looks for one.
        cache_bytes: size of the response cache, shared by the models that switch it on.
        drain_s: how long Triton waits for requests in flight once it must stop.
        auto_complete: whether Triton completes the models' configs. Off: a complete config loads in 0.1 s instead of
            1.4 s, as no second worker is started only to ask it, and what runs is what was written.
    """

    gpu: bool | None = None
    cache_bytes: int = 32 << 20
    drain_s: int = 4
    auto_complete: bool = False


def command_line(
    install: TritonInstall,
    *,
    server_id: str,
    shm_prefix: str,
    backends: Path,
    repositories: Sequence[Path],
    ports: Ports,
    options: ServerOptions,
    gpu: bool,
) -> list[str]:
    """The program and its arguments.

    Args:
        server_id: Triton's name for itself; tells our server from another one on the same port.
        shm_prefix: how the names of its shared memory segments begin.
        backends: folder made by `install.lay_out_backends`.
        repositories: model repositories; a model name must be in only one of them.
    """
    flags: dict[str, object] = {
        "id": server_id,
        "backend-directory": backends,
        "cache-directory": install.caches,
        "cache-config": f"local,size={options.cache_bytes}",
        "backend-config": f"python,shm-region-prefix-name={shm_prefix}",
        "http-address": LOOPBACK,
        "grpc-address": LOOPBACK,
        "metrics-address": LOOPBACK,
        "http-port": ports.http,
        "grpc-port": ports.grpc,
        "metrics-port": ports.metrics,
        "model-control-mode": "explicit",
        # Readiness is ours to say: Triton's is false while any one model loads, and true with a dead worker.
        "strict-readiness": "false",
        "exit-on-error": "false",
        "exit-timeout-secs": options.drain_s,
        "metrics-interval-ms": 500,  # an exit waits for the end of the interval: with the default up to 2 s
    }
    if not gpu:
        flags |= {"pinned-memory-pool-byte-size": 0, "allow-gpu-metrics": "false"}
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    arguments += [f"--metrics-config={setting}" for setting in _METRICS]
    arguments += [f"--model-repository={path}" for path in repositories]
    if not options.auto_complete:
        arguments.append("--disable-auto-complete-config")
    return [str(install.binary), *arguments]


def environment(
    base: Mapping[str, str], extra: Mapping[str, str], *, server_id: str, executable: Path, libraries: Sequence[Path]
) -> dict[str, str]:
    """The server's environment; its Python workers inherit it.

    Args:
        base: usually the running process's own.
        extra: on top of it. PATH and LD_LIBRARY_PATH come after ours.
        executable: the Python whose packages the workers shall see: they look for `python3` along PATH.
        libraries: folders for the loader, first come first.
    """
    merged = {**base, **extra}
    ours = {"PATH": [executable.parent], "LD_LIBRARY_PATH": libraries}
    for name, folders in ours.items():
        merged[name] = os.pathsep.join([*map(str, folders), *filter(None, [merged.get(name)])])
    merged[SERVER_ID_VARIABLE] = server_id
    return merged


def has_gpu(env: Mapping[str, str]) -> bool:
    """Whether an NVIDIA GPU is there and not hidden by CUDA_VISIBLE_DEVICES."""
    if env.get("CUDA_VISIBLE_DEVICES", "0").strip() in {"", "-1", "none", "NoDevFiles"}:
        return False
    return Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists() or any(Path("/dev").glob("nvidia[0-9]*"))


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on now; somebody may before they are used."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]
