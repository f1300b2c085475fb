"""Where a service's methods run: async code that only brings others together on the front-end, what computes in Triton."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import DefinitionError
from orchestrator.spec import ApiSpec, Placement

__all__ = ["Placed", "place"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A decision.

    Attributes:
        why: the rule that made it, as a clause: `it has the sync API classify`.
    """

    where: Placement
    why: str


def place(
    asked: Placement | None, *, mounts: bool, models: bool, depends: bool, apis: Sequence[ApiSpec], gpu: bool
) -> Placed:
    """Where the methods of a service run.

    Args:
        asked: `@service(placement=...)`.
        mounts: it mounts an ASGI application, which shares the service's instance, so that both are where HTTP is.
        models: it calls models that Triton runs.
        depends: it calls other services.
        gpu: it asks for a GPU.

    Raises:
        DefinitionError: what was asked for cannot be.
    """
    if mounts and asked is Placement.TRITON:
        raise DefinitionError(
            "@service(placement='triton'): a service that mounts an application runs on the front-end, with its HTTP",
            hint="take the placement away, or the application",
        )
    if asked is not None:
        return Placed(asked, f"@service(placement={asked.value!r}) says so")
    if mounts:
        return Placed(Placement.FRONTEND, "it mounts an application, which shares its instance")
    if not (models or depends):
        return Placed(Placement.TRITON, "it calls no models and no services: its methods do the work")
    if gpu:
        return Placed(Placement.TRITON, "it asks for a GPU")
    sync = [api.name for api in apis if not api.is_async]
    if sync:
        return Placed(Placement.TRITON, f"it has the sync API{'s' if len(sync) > 1 else ''} {', '.join(sync)}")
    calls = " and ".join(what for what, there in (("models", models), ("services", depends)) if there)
    return Placed(Placement.FRONTEND, f"it calls {calls}, and all its APIs are async")
