"""Asks a Triton on this machine, and loads nothing where it could crash for want of shared memory."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import ServerProcessError
from orchestrator.triton.control import Control

__all__ = ["LocalControl", "workers_in"]

_SHM: Final = Path("/dev/shm")  # noqa: S108
_WORKER_BYTES: Final = 1 << 20
_SPARE_BYTES: Final = 4 << 20
"""For calls that need more in the meantime."""


class LocalControl(Control):
    """A `Control` for our own server.

    Triton 24.10 crashed in one of four loads in which there was room for some of a model's workers and not for all: the
    models that serve would fall with the one that cannot be loaded.
    """

    async def load_model(self, name: str, config_json: str | None = None, *, timeout_s: float | None = None) -> None:
        """Loads a model.

        Raises:
            ServerProcessError: as `Control`; and where its workers would fill /dev/shm.
        """
        config: dict[str, Any] = {}
        if config_json is not None:
            config = json.loads(config_json)
        else:
            with contextlib.suppress(ServerProcessError):  # it was not loaded yet
                config = await self.model_config(name)
        need = workers_in(config) * _WORKER_BYTES + _SPARE_BYTES
        free = shutil.disk_usage(_SHM).free
        if free < need:
            raise ServerProcessError(
                f"model {name!r} cannot be loaded: {_SHM} is full, it has {free >> 20} MiB free and needs {need >> 20} MiB",
                hint="in a container, start it with --shm-size=1g or --ipc=host",
            )
        await super().load_model(name, config_json, timeout_s=timeout_s)


def workers_in(config: dict[str, Any]) -> int:
    """How many worker processes a model has with this config, which is in protobuf's JSON form."""
    groups = config.get("instance_group", ()) if config.get("backend") == "python" else ()
    return sum(group.get("count", 1) * max(1, len(group.get("gpus", ()))) for group in groups)
