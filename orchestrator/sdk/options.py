"""What users pass to `@service` and `@api`, checked and in our units."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.errors import DefinitionError
from orchestrator.spec import Resources, Traffic

__all__ = ["ApiOptions", "ServiceOptions", "check_keys", "check_name", "service_options"]

DEFAULT_MAX_BATCH_SIZE: Final = 100
DEFAULT_MAX_LATENCY_MS: Final = 60_000.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_BYTES: Final = {
    "": 1,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What `@api` was given; None where the default depends on the method."""

    route: str | None = None
    batchable: bool = False
    batch_dim: tuple[int, int] = (0, 0)
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    max_latency_ms: float = DEFAULT_MAX_LATENCY_MS


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What `@service` was given."""

    name: str | None
    workers: int
    resources: Resources
    traffic: Traffic


def service_options(given: Mapping[str, Any]) -> ServiceOptions:
    """Checks the keyword arguments of `@service`.

    Raises:
        DefinitionError: a key is unknown (the nearest known one is named) or a value is not one that the key takes.
    """
    check_keys(given, ("name", "workers", "resources", "traffic"), "@service")
    name = given.get("name")
    if name is not None:
        check_name(name)
    return ServiceOptions(
        name=name,
        workers=_workers(given.get("workers", 1)),
        resources=_resources(_mapping(given.get("resources"), "resources")),
        traffic=_traffic(_mapping(given.get("traffic"), "traffic")),
    )


def check_name(name: Any) -> None:
    """Raises: DefinitionError where it cannot be the name of a service, which is a Triton model and a folder too."""
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise DefinitionError(
            f"{name!r} cannot be the name of a service",
            hint="@service(name=...) takes 1 to 128 letters, digits, '_', '-' or '.', and a letter or digit in front",
        )


def check_keys(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raises: DefinitionError that names the nearest known key for the first unknown one."""
    known = tuple(known)
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise DefinitionError(f"{where}: unknown key {key!r}", hint=hint)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise DefinitionError(f"@service({where}=...) takes a dict, not {type(value).__name__}")
    return value


def _workers(value: Any) -> int:
    if value == "cpu_count":
        return len(os.sched_getaffinity(0))
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DefinitionError(f"@service(workers={value!r}): takes a whole number from 1 up, or 'cpu_count'")
    return value


def _resources(given: Mapping[str, Any]) -> Resources:
    check_keys(given, ("cpu", "memory", "gpu", "gpu_type"), "@service(resources=...)")
    gpu = _number(given.get("gpu", 0), "resources.gpu")
    if gpu > 1 and gpu != int(gpu):
        raise DefinitionError(f"resources.gpu={given['gpu']!r}: above 1 only whole GPUs can be asked for")
    kind = given.get("gpu_type")
    return Resources(
        cpu=_cpu(given.get("cpu")),
        memory_bytes=_memory(given.get("memory")),
        gpu=gpu,
        gpu_type=None if kind is None else str(kind),
    )


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise DefinitionError(f"{where}={value!r}: takes a number") from None
    if not math.isfinite(number) or number < 0:
        raise DefinitionError(f"{where}={value!r}: takes a number from 0 up")
    return number


def _cpu(value: Any) -> float | None:
    if value is None:
        return None
    text = str(value).strip()
    if text.endswith("m"):
        return _number(text[:-1], "resources.cpu") / 1000
    return _number(text, "resources.cpu")


def _memory(value: Any) -> int | None:
    """Bytes; a bare number means GiB, as BentoML's users know it."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(_number(value, "resources.memory") * 2**30)
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kKmMgGtT]?i?)[bB]?\s*", str(value))
    if not match or match[2].lower() not in _BYTES:
        raise DefinitionError(f"resources.memory={value!r}: takes a size such as '512Mi' or '2Gi'")
    return int(_number(match[1], "resources.memory") * _BYTES[match[2].lower()])


def _traffic(given: Mapping[str, Any]) -> Traffic:
    check_keys(given, ("timeout", "max_concurrency", "concurrency", "external_queue"), "@service(traffic=...)")
    timeout = _number(given.get("timeout", 60.0), "traffic.timeout")
    if timeout == 0:
        raise DefinitionError("traffic.timeout=0: takes seconds above 0")
    limits: dict[str, int | None] = {}
    for key in ("max_concurrency", "concurrency"):
        value = given.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise DefinitionError(f"traffic.{key}={value!r}: takes a whole number from 1 up")
        limits[key] = value
    return Traffic(timeout_s=timeout, **limits)
