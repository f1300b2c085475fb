"""Triton in a container of Docker's on this machine, for as long as we run."""

import contextlib
import os
import shutil
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from orchestrator.errors import ServerProcessError, SettingsError

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.models.containers import Container

__all__ = ["CPU_IMAGE", "GPU_IMAGE", "REPOSITORY_PREFIX", "TritonContainer"]

CPU_IMAGE: Final = "orchestrator/triton-cpu"
GPU_IMAGE: Final = "orchestrator/triton-gpu"
_OWNER: Final = "orchestrator.owner"
"""Label of a container: the process that it belongs to, and when that began."""
_REPOSITORY: Final = "orchestrator.repository"
"""Label: the folder of its models, which goes with it where the name begins so."""
REPOSITORY_PREFIX: Final = "orchestrator-docker-"
_GRPC, _METRICS = 8001, 8002
_TRIES: Final = 5
_KEPT_LINES: Final = 40
_USER: Final = "1000:1000"


class TritonContainer:
    """A container with Triton and our worker in it; `docker/` has the images.

    Args:
        image: of one that `docker compose build` made, or of your own made like it.
        gpu: it gets all GPUs.
        shm_bytes: size of its `/dev/shm`, through which tensors go.

    Attributes:
        address: of its gRPC on this machine, `host:port`; its page of metrics is at the port above.
    """

    def __init__(self, image: str, *, gpu: bool = False, shm_bytes: int = 256 << 20) -> None:
        self._image = image
        self._gpu = gpu
        self._shm_bytes = shm_bytes
        self._stop_s = 10
        self._client: DockerClient | None = None
        self._container: Container | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self.address = ""

    def start(
        self, repository: Path, service: Path, *, env: Mapping[str, str], log: Callable[[str], None], stop_s: int
    ) -> None:
        """Starts it; Triton in it is not there yet.

        Args:
            repository: model repository; read only.
            service: folder of the services' code; read only.
            env: for the services' code.
            log: gets each of its lines, in a thread of its own.
            stop_s: how long it has to end.

        Raises:
            SettingsError: there is no engine that we may use, or no such image, or it cannot give us a GPU.
            ServerProcessError: the container does not start.
        """
        from docker.client import DockerClient
        from docker.errors import APIError, DockerException, ImageNotFound

        try:
            self._client = DockerClient.from_env()
            self._client.ping()
        except DockerException as error:
            raise _no_engine(error) from error
        _remove_orphans(self._client)
        self._stop_s = stop_s
        try:
            self._client.images.get(self._image)
        except ImageNotFound as error:
            raise SettingsError(
                f"there is no image {self._image!r} on this machine",
                hint=f"`docker compose build {'triton-gpu' if self._gpu else 'triton'}` in a clone of the project makes it, "
                "or name another with ORCHESTRATOR_TRITON_IMAGE",
            ) from error
        for left in reversed(range(_TRIES)):
            port = _free_pair()
            try:
                self._container = self._run(port, repository, service, env)
                break
            except APIError as error:
                self._drop()
                text = str(error.explanation or error)
                if "already allocated" in text and left:  # somebody took the port meanwhile
                    continue
                if "could not select device driver" in text or "nvidia" in text.lower():
                    raise SettingsError(
                        f"Docker cannot give the container a GPU: {text}",
                        hint="install the NVIDIA Container Toolkit, or take resources.gpu away",
                    ) from error
                raise ServerProcessError(f"Docker does not start {self._image}: {text}") from error
        self.address = f"127.0.0.1:{port}"
        threading.Thread(target=self._follow, args=(log,), name="orchestrator-container-log", daemon=True).start()

    @property
    def log_tail(self) -> list[str]:
        """Its last lines."""
        return list(self._lines)

    def check(self) -> None:
        """Raises: ServerProcessError where it has ended."""
        assert self._container is not None
        self._container.reload()
        if self._container.status not in ("created", "running", "restarting"):
            code = self._container.attrs["State"].get("ExitCode")
            raise ServerProcessError("the Triton container has ended", exit_code=code, log_tail=self.log_tail)

    def stop(self) -> None:
        """Ends it, and removes it; does nothing where none runs."""
        if self._container is not None:
            from docker.errors import DockerException

            with contextlib.suppress(DockerException):
                self._container.stop(timeout=self._stop_s)
            self._drop()
        if self._client is not None:
            self._client.close()
            self._client = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, port: int, repository: Path, service: Path, env: Mapping[str, str]) -> "Container":
        from docker.types import DeviceRequest

        assert self._client is not None
        self._container = self._client.containers.create(
            self._image,
            environment=dict(env),
            volumes={
                str(repository): {"bind": "/models", "mode": "ro"},
                str(service): {"bind": "/service", "mode": "ro"},
            },
            ports={f"{_GRPC}/tcp": ("127.0.0.1", port), f"{_METRICS}/tcp": ("127.0.0.1", port + 1)},
            labels={_OWNER: _owner(os.getpid()), _REPOSITORY: str(repository)},
            user=_USER,
            init=True,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"],
            tmpfs={"/tmp": "mode=1777,size=256m"},  # noqa: S108  # the container's own
            shm_size=self._shm_bytes,
            restart_policy={"Name": "on-failure"},
            device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])] if self._gpu else None,
        )
        self._container.start()
        return self._container

    def _follow(self, log: Callable[[str], None]) -> None:
        container = self._container
        if container is None:
            return
        rest = b""
        with contextlib.suppress(Exception):  # it ends with the container, in whatever way
            for part in container.logs(stream=True, follow=True):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace").rstrip()
                    self._lines.append(text)
                    log(text)

    def _drop(self) -> None:
        from docker.errors import DockerException

        if self._container is not None:
            with contextlib.suppress(DockerException):
                self._container.remove(force=True, v=True)
            self._container = None


def _no_engine(error: Exception) -> SettingsError:
    if "Permission denied" in str(error):
        return SettingsError(
            "--triton docker: this user may not use the Docker engine",
            hint="add the user to the group `docker`, or use a rootless engine and DOCKER_HOST",
        )
    return SettingsError(
        "--triton docker: no Docker engine answers", hint="start it, or say where it is with DOCKER_HOST"
    )


def _remove_orphans(client: Any) -> None:
    """Removes the containers of processes that were killed before they could, and the repositories that were made for them."""
    from docker.errors import DockerException

    for container in client.containers.list(all=True, filters={"label": _OWNER}):
        owner = container.labels.get(_OWNER, "")
        pid = owner.partition(" ")[0]
        if not (pid.isdigit() and _owner(int(pid)) == owner):
            with contextlib.suppress(DockerException):
                container.remove(force=True, v=True)
                folder = Path(container.labels.get(_REPOSITORY, ""))
                if folder.name.startswith(REPOSITORY_PREFIX):
                    shutil.rmtree(folder, ignore_errors=True)


def _owner(pid: int) -> str:
    """A process, such that no later one is taken for it; "" where it is not there."""
    try:
        began = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
    return f"{pid} {began}"


def _free_pair() -> int:
    """A port that is free now, as is the one above it.

    Raises:
        ServerProcessError: there is none.
    """
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise ServerProcessError("no two neighbouring ports are free")
