"""Models run in this process: in tests, and for an instance that is used as any other object."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from numpy.typing import NDArray

from orchestrator.errors import BackendUnavailable
from orchestrator.spec import ModelFormat, NativeModelSpec

if TYPE_CHECKING:
    from orchestrator.formats import ModelFiles, OpenModel

__all__ = ["OpenedModels"]

_THREADS: Final = 8
_FOR_MANY_THREADS: Final = frozenset({ModelFormat.ONNX})
Arrays = Mapping[str, NDArray[Any]]


class OpenedModels:
    """Opens each model's file with its first call (implements `ModelCaller`). Safe for many threads.

    Args:
        files: name of the Triton model -> its files.
    """

    def __init__(self, files: "Mapping[str, ModelFiles]") -> None:
        self._files = files
        self._models: dict[str, tuple[OpenModel, Lock | None]] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="orchestrator-model")
        self._closed = False

    def open(self, spec: NativeModelSpec) -> None:
        """Opens a model now.

        Raises:
            DefinitionError: its file cannot be run in this process.
        """
        self._model(spec)

    def call(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        """Runs a model in this thread.

        Raises:
            DefinitionError: its file cannot be run in this process.
            CallError: see `ModelCaller`.
        """
        model, one_at_a_time = self._model(spec)
        if one_at_a_time is None:
            return model.run(inputs, outputs)
        with one_at_a_time:
            return model.run(inputs, outputs)

    async def acall(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        """Runs a model in a thread of its own."""
        if self._closed:
            raise BackendUnavailable(f"{spec.name} is closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self.call, spec, inputs, outputs)

    def close(self) -> None:
        """Waits for the calls that run, and frees the models' memory."""
        self._closed = True
        self._pool.shutdown(wait=True)
        with self._lock:
            for model, _ in self._models.values():
                model.close()
            self._models.clear()

    def _model(self, spec: NativeModelSpec) -> "tuple[OpenModel, Lock | None]":
        found = self._models.get(spec.name)
        if found is not None:
            return found
        with self._lock:
            if self._closed:
                raise BackendUnavailable(f"{spec.name} is closed")
            if spec.name not in self._models:
                from orchestrator.formats import open_model

                files = self._files[spec.name]
                main = files.files[files.file]  # where it lies it has a name of its own
                model = open_model(
                    main.parent, spec.model_copy(update={"file": main.name}), threads=spec.options.threads
                )
                self._models[spec.name] = (model, None if spec.format in _FOR_MANY_THREADS else Lock())
            return self._models[spec.name]
