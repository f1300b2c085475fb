"""The services of a graph that run in this process, on one event loop, and their way to those that Triton runs."""

from collections.abc import Callable, Sequence

from orchestrator.engine.backend import Backend
from orchestrator.engine.composition import BackendService
from orchestrator.engine.loops import OnLoop
from orchestrator.engine.models import ServiceModels
from orchestrator.engine.routing import RoutedBackend
from orchestrator.sdk import Definition
from orchestrator.worker.local import LocalBackend

__all__ = ["LocalGraph"]


class LocalGraph(RoutedBackend):
    """A Backend that runs services in this process.

    Args:
        definitions: dependencies before their callers.
        elsewhere: makes a Backend to what else there is; None where there is nothing. Called once for each event loop.
        models: gives what runs the models of a definition; None for this process.
        worker_index: of this process, from 1.

    Attributes:
        locals: the services by name.

    Raises:
        DefinitionError: a class's `__init__` failed.
    """

    def __init__(
        self,
        definitions: Sequence[Definition],
        *,
        elsewhere: Callable[[], Backend] | None = None,
        models: Callable[[Definition], ServiceModels | None] = lambda _: None,
        worker_index: int = 1,
    ) -> None:
        super().__init__(elsewhere() if elsewhere is not None else None)
        self._threads = OnLoop(self, beside=elsewhere, runs_here=self.runs_here)
        self.locals: dict[str, LocalBackend] = {}
        for definition in definitions:
            services = {
                attribute: BackendService(dependency.service, self, self._threads)
                for attribute, dependency in definition.dependencies.items()
                if dependency.service is not None
            }
            local = LocalBackend(definition, worker_index, models=models(definition), services=services)
            self.locals[definition.spec.name] = local
            self.add(definition.spec.name, local)

    async def open(self) -> None:
        self._threads.open()
        await super().open()

    async def ready(self, model: str) -> bool:
        """Also of a model that one of the services declares."""
        if await super().ready(model):
            return True
        for local in self.locals.values():
            if await local.ready(model):
                return True
        return False

    async def close(self) -> None:
        await super().close()
        self._threads.close()
