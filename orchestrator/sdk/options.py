"""What users pass to `@service` and `@api`, checked and in our units."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from orchestrator.errors import DefinitionError, SettingsError
from orchestrator.spec import Layer, Placement, read_layer

__all__ = ["ApiOptions", "ServiceOptions", "check_keys", "check_name", "service_options"]

DEFAULT_MAX_BATCH_SIZE: Final = 100
DEFAULT_MAX_LATENCY_MS: Final = 60_000.0
_PLACEMENTS: Final = (Placement.TRITON.value, Placement.FRONTEND.value)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """What `@api` was given; None where the default depends on the method."""

    route: str | None = None
    batchable: bool = False
    batch_dim: tuple[int, int] = (0, 0)
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE
    max_latency_ms: float = DEFAULT_MAX_LATENCY_MS
    input_spec: type[BaseModel] | None = None
    output_spec: type[BaseModel] | None = None


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What `@service` was given.

    Attributes:
        name: None where the class's own name is meant.
        layer: the configuration; other sources go above it.
        placement: where its methods run; None where the class itself tells.
    """

    name: str | None
    layer: Layer
    placement: Placement | None = None


def service_options(given: Mapping[str, Any]) -> ServiceOptions:
    """Checks the keyword arguments of `@service`.

    Raises:
        DefinitionError: a key is unknown (the nearest known one is named) or a value is not one that the key takes.
    """
    config = dict(given)
    name = config.pop("name", None)
    if name is not None:
        check_name(name)
    placement = config.pop("placement", None)
    if placement not in (None, *_PLACEMENTS):
        raise DefinitionError(f"@service(placement={placement!r}): takes {' or '.join(map(repr, _PLACEMENTS))}")
    try:
        layer = read_layer(config, "@service", also_known=("name", "placement"))
    except SettingsError as error:
        raise DefinitionError(error.message, hint=error.hint) from None
    return ServiceOptions(name, layer, None if placement is None else Placement(placement))


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
