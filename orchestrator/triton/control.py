"""What Triton is asked besides inferences: load, unload, list, describe, count."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from orchestrator.errors import ServerProcessError
from orchestrator.triton.channel import open_channel

__all__ = ["Control", "ModelMetadata", "ModelState", "ModelStatistics", "TensorMetadata"]

_ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model in the repository index.

    Attributes:
        version: "" where none was ever loaded.
        state: `READY`, `LOADING`, `UNLOADING`, `UNAVAILABLE`, or "" for never loaded.
        reason: why it is not ready, Triton's words.
    """

    name: str
    version: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """An input or output; `datatype` is Triton's word, -1 in `shape` is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a loaded model takes and gives; `platform` names what runs it."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """Counters of one version since it was loaded.

    Attributes:
        inferences: rows; executions: batches that they ran in. Cache hits count as neither.
        last_inference_ms: time of the last request, milliseconds since 1970.
        counts: requests by what happened to them (`success`, `fail`, `queue`, `compute_infer`, `cache_hit`, ...).
        durations_ns: total time by the same keys.
    """

    name: str
    version: str
    inferences: int
    executions: int
    last_inference_ms: int
    counts: dict[str, int]
    durations_ns: dict[str, int]


class Control:
    """Client of one Triton server. Belongs to the event loop that it is made in.

    Args:
        grpc_url: `host:port`.
        log_tail: the server's last lines, for errors that Triton explains only in its log.
    """

    def __init__(self, grpc_url: str, *, log_tail: Callable[[], Sequence[str]] = tuple) -> None:
        self._channel = open_channel(grpc_url)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._log_tail = log_tail

    async def load_model(self, name: str, config_json: str | None = None, *, timeout_s: float | None = None) -> None:
        """Loads a model, or its newest version: the old one answers until the new one is ready.

        Args:
            config_json: a complete config as JSON that stands in for config.pbtxt until the next load without one.
            timeout_s: how long to wait; Triton goes on loading after that.

        Raises:
            ServerProcessError: with the Python exception of the model in one line, Triton's whole text in `log_tail`.
        """
        request = service_pb2.RepositoryModelLoadRequest(model_name=name)
        if config_json is not None:
            request.parameters["config"].string_param = config_json
        try:
            await self._stub.RepositoryModelLoad(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise self._load_error(name, exc) from exc

    async def unload_model(self, name: str, *, dependents: bool = False) -> None:
        """Takes a model out of service; requests in flight are answered. Unknown names are no error.

        Args:
            dependents: whether the members of an ensemble go with it.

        Raises:
            ServerProcessError: Triton cannot be reached.
        """
        request = service_pb2.RepositoryModelUnloadRequest(model_name=name)
        request.parameters["unload_dependents"].bool_param = dependents
        await self._ask(self._stub.RepositoryModelUnload, request, timeout_s=None)

    async def repository_index(self) -> tuple[ModelState, ...]:
        """Every model version that Triton sees."""
        answer = await self._ask(self._stub.RepositoryIndex, service_pb2.RepositoryIndexRequest())
        return tuple(ModelState(each.name, each.version, each.state, each.reason) for each in answer.models)

    async def server_live(self) -> bool:
        """Whether the server answers at all. Never raises."""
        try:
            answer = await self._stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=_ASK_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.live)

    async def model_ready(self, name: str, version: str = "") -> bool:
        """Whether a model is loaded. Never raises."""
        try:
            request = service_pb2.ModelReadyRequest(name=name, version=version)
            answer = await self._stub.ModelReady(request, timeout=_ASK_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.ready)

    async def model_metadata(self, name: str) -> ModelMetadata:
        """What a loaded model takes and gives."""
        answer = await self._ask(self._stub.ModelMetadata, service_pb2.ModelMetadataRequest(name=name))
        return ModelMetadata(
            name=answer.name,
            versions=tuple(answer.versions),
            platform=answer.platform,
            inputs=_tensors(answer.inputs),
            outputs=_tensors(answer.outputs),
        )

    async def model_config(self, name: str) -> dict[str, Any]:
        """A loaded model's config as Triton completed it, in protobuf's JSON form (64-bit numbers are strings)."""
        answer = await self._ask(self._stub.ModelConfig, service_pb2.ModelConfigRequest(name=name))
        config: dict[str, Any] = json_format.MessageToDict(answer.config, preserving_proto_field_name=True)
        return config

    async def statistics(self, name: str = "") -> tuple[ModelStatistics, ...]:
        """Counters of the loaded versions of a model, or of every model."""
        answer = await self._ask(self._stub.ModelStatistics, service_pb2.ModelStatisticsRequest(name=name))
        return tuple(_statistics(each) for each in answer.model_stats)

    async def close(self) -> None:
        """Closes the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, method: Any, request: Any, *, timeout_s: float | None = _ASK_S) -> Any:
        try:
            return await method(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as exc:
            raise ServerProcessError(
                f"Triton refused: {_first_line(exc.details() or exc.code().name)}", log_tail=self._log_tail()
            ) from exc

    def _load_error(self, name: str, exc: grpc.aio.AioRpcError) -> ServerProcessError:
        text = exc.details() or exc.code().name
        if exc.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            return ServerProcessError(
                f"Triton ended while model {name!r} loaded", log_tail=self._log_tail(), hint="see the end of its log"
            )
        if exc.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerProcessError(f"model {name!r} did not load in time", log_tail=self._log_tail())
        if "failed to poll" in text:  # the reason is only in the log
            return ServerProcessError(
                f"Triton found no usable model {name!r} in its repositories",
                log_tail=(*self._log_tail(), text),
                hint="its config.pbtxt is missing or broken, or two repositories hold it; see the end of Triton's log",
            )
        return ServerProcessError(f"model {name!r} failed to load: {load_reason(text)}", log_tail=text.splitlines())


def load_reason(text: str) -> str:
    """The cause in a load failure's text: the exception's own line where a Python model raised one.

    Args:
        text: as `load failed for model 'm': version 1 is at UNAVAILABLE state: Internal: ValueError: x`, with the
            Python stack on the lines after it.
    """
    _, found, rest = text.partition("state: ")
    reason = _first_line(rest if found else re.sub(r"^load failed for model '.*?': ", "", text))
    reason = re.sub(r"^(Internal|Invalid argument|Unavailable|Not found|Unsupported|Unknown): ", "", reason).rstrip(
        "; "
    )
    if "shared memory" in reason and "No space left" in text:
        return "/dev/shm is full, and each worker needs 1 MiB there (in a container: --shm-size=1g or --ipc=host)"  # noqa: S108
    if "Stub process" in reason:
        return "its worker process ended while it started (out of memory, a crash in a native library, or os._exit)"
    return reason


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")


def _tensors(tensors: Any) -> tuple[TensorMetadata, ...]:
    return tuple(TensorMetadata(each.name, each.datatype, tuple(each.shape)) for each in tensors)


def _statistics(stats: Any) -> ModelStatistics:
    durations = {
        field.name: getattr(stats.inference_stats, field.name) for field in stats.inference_stats.DESCRIPTOR.fields
    }
    return ModelStatistics(
        name=stats.name,
        version=stats.version,
        inferences=stats.inference_count,
        executions=stats.execution_count,
        last_inference_ms=stats.last_inference,
        counts={name: duration.count for name, duration in durations.items()},
        durations_ns={name: duration.ns for name, duration in durations.items()},
    )
