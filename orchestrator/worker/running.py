"""One instance of the user's class, from its first moment to its last."""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import DefinitionError
from orchestrator.sdk import Definition
from orchestrator.sdk.binding import Binding, ModelCaller, ServiceCaller, bind, binding
from orchestrator.sdk.context import server_context, set_process_service
from orchestrator.sdk.hooks import Hook, hooks_of

__all__ = ["Running"]

logger = logging.getLogger("orchestrator.worker")


class Running:
    """An instance and what its calls share.

    Args:
        definition: the service.
        worker_index: of this process among the service's workers, from 1.
        models: runs the models that the class declares; None where it declares none.
        services: attribute -> what calls the service that the class depends on.

    Raises:
        DefinitionError: `__init__` failed; the traceback is in the log.
    """

    def __init__(
        self,
        definition: Definition,
        worker_index: int = 1,
        *,
        models: ModelCaller | None = None,
        services: Mapping[str, ServiceCaller] = {},
    ) -> None:
        self.definition = definition
        self.state: dict[str, Any] = {}
        server_context.worker_index = worker_index
        server_context.service_name = definition.spec.name
        try:
            self.instance = _instance(definition, models, services)
        except Exception as error:
            logger.exception("%s.__init__ failed", definition.cls.__name__)
            raise DefinitionError(
                f"{definition.cls.__name__}.__init__ failed: {type(error).__name__}: {error}"
            ) from error
        set_process_service(self.instance)

    async def startup(self) -> None:
        """Runs the start-up hooks.

        Raises:
            DefinitionError: one failed; the traceback is in the log.
        """
        for hook in hooks_of(self.definition.cls, Hook.STARTUP):
            try:
                await _run(hook, self.instance)
            except Exception as error:
                logger.exception("%s failed", hook.__qualname__)
                raise DefinitionError(f"{hook.__qualname__} failed: {type(error).__name__}: {error}") from error

    async def shutdown(self) -> None:
        """Runs the shutdown hooks, all of them, whatever the others do."""
        for hook in hooks_of(self.definition.cls, Hook.SHUTDOWN):
            try:
                await _run(hook, self.instance)
            except Exception:
                logger.exception("%s failed", hook.__qualname__)

    async def ask(self, name: str, *arguments: Any) -> Any:
        """Calls one of the service's own checks (`__is_ready__` ...), sync or async."""
        return await _run(getattr(self.definition.cls, name), self.instance, *arguments)


def _instance(definition: Definition, models: ModelCaller | None, services: Mapping[str, ServiceCaller]) -> Any:
    native = definition.spec.models if models is not None else ()
    if not native and not definition.dependencies:
        return definition.cls()
    called = {
        attribute: (definition.dependencies[attribute], services.get(attribute))
        for attribute in definition.dependencies
    }
    bound = Binding({spec.attribute: spec for spec in native}, models, called)
    with binding(definition.cls, bound):  # `__init__` may keep a handle
        instance = definition.cls()
    bind(instance, bound)
    return instance


async def _run(function: Callable[..., Any], instance: Any, *arguments: Any) -> Any:
    result = function(instance, *arguments)
    return await result if inspect.isawaitable(result) else result


def run_to_end(coroutine: Any) -> Any:
    """Runs a coroutine on a loop of its own, where the thread has none."""
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(coroutine)
