"""Where a service's methods run: async code that only brings others together on the front-end, what computes in Triton."""

from collections.abc import Sequence

from orchestrator.errors import DefinitionError
from orchestrator.spec import ApiSpec, Placement

__all__ = ["place"]


def place(asked: Placement | None, *, mounts: bool, models: bool, apis: Sequence[ApiSpec], gpu: bool) -> Placement:
    """Where the methods of a service run.

    Args:
        asked: `@service(placement=...)`.
        mounts: it mounts an ASGI application, which shares the service's instance, so that both are where HTTP is.
        models: it calls models that Triton runs.
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
        return asked
    only_async = all(api.is_async for api in apis)
    return Placement.FRONTEND if mounts or (models and only_async and not gpu) else Placement.TRITON
