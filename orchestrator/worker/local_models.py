"""The models of a service, run in this process, with the rules that hold in Triton."""

import asyncio
from collections.abc import Sequence

from orchestrator.engine import Tensors
from orchestrator.sdk import Definition
from orchestrator.sdk.native import refuse_at_start, refuse_on_loop
from orchestrator.sdk.opened import OpenedModels
from orchestrator.spec import NativeModelSpec

__all__ = ["LocalModels"]


class LocalModels:
    """Runs the model files of a definition (implements `engine.ServiceModels`).

    Args:
        definition: with the files, as a command or a test reads it.
    """

    def __init__(self, definition: Definition) -> None:
        self._specs = {spec.name: spec for spec in definition.spec.models}
        self._opened = OpenedModels(definition.models)
        self._open = False

    async def open(self) -> None:
        if not self._open:
            for spec in self._specs.values():
                await asyncio.to_thread(self._opened.open, spec)
            self._open = True

    def call(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        refuse_on_loop(spec)
        if not self._open:
            refuse_at_start(spec)
        return self._opened.call(spec, inputs, outputs)

    async def acall(self, spec: NativeModelSpec, inputs: Tensors, outputs: Sequence[str]) -> Tensors:
        if not self._open:
            refuse_at_start(spec)
        return await self._opened.acall(spec, inputs, outputs)

    async def ready(self, model: str) -> bool:
        return self._open and model in self._specs

    async def close(self) -> None:
        self._open = False
        if self._specs:
            await asyncio.to_thread(self._opened.close)
