"""What a service does once, before any of its workers starts."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable

from orchestrator.errors import DefinitionError
from orchestrator.sdk import Definition
from orchestrator.sdk.hooks import Hook, hooks_of

__all__ = ["run_deployment_hooks"]

logger = logging.getLogger("orchestrator.cli")


def run_deployment_hooks(definition: Definition) -> None:
    """Runs the service's `on_deployment` hooks, sync and async.

    Raises:
        DefinitionError: one failed; its traceback is in the log.
    """
    for hook in hooks_of(definition.cls, Hook.DEPLOYMENT):
        # There is no instance yet: a hook that wants something gets the class.
        arguments = (definition.cls,) if inspect.signature(hook).parameters else ()
        try:
            result = hook(*arguments)
            if inspect.isawaitable(result):
                asyncio.run(_wait(result))
        except Exception as error:
            logger.exception("%s failed", hook.__qualname__)
            code = inspect.unwrap(hook).__code__
            raise DefinitionError(
                f"{hook.__qualname__} failed: {type(error).__name__}: {error}",
                file=code.co_filename,
                line=code.co_firstlineno,
            ) from error


async def _wait(result: Awaitable[object]) -> None:
    await result
