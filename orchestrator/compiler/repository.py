"""What a model repository must hold, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath

__all__ = ["RepositoryPlan", "Target"]


class Target(StrEnum):
    """Which Triton the repository is for."""

    EMBEDDED = "embedded"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """What a model repository must hold for services, or for a model alone.

    Attributes:
        files: path inside the repository -> content.
        models: names of its Triton models, in the order to load them: a service calls those before it.
        copies: path inside the repository -> the file on this machine that it is a copy of.
        services: names of the services' own models, whose former facades and models are not to stay.
    """

    files: Mapping[PurePosixPath, bytes]
    models: tuple[str, ...]
    copies: Mapping[PurePosixPath, Path] = field(default_factory=dict)
    services: tuple[str, ...] = ()

    def paths_of(self, model: str) -> Iterator[PurePosixPath]:
        """Every file of a model."""
        yield from (path for path in (*self.files, *self.copies) if path.parts[0] == model)
