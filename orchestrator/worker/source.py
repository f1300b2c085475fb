"""Where a worker finds the user's code."""

import os
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import DefinitionError
from orchestrator.spec.frozen import Frozen
from orchestrator.worker.snapshot import Snapshot, import_from

__all__ = ["CODE_FILE", "SERVICE_PATH_VARIABLE", "SOURCES_FILE", "CodeOrigin", "code_files", "code_folder"]

SERVICE_PATH_VARIABLE: Final = "ORCHESTRATOR_SERVICE_PATH"
"""Environment of Triton: the folder of the user's code; it goes before what the exported config says."""
CODE_FILE: Final = "code.json"
"""In a version's folder: a `CodeOrigin`; the folder that it names goes before the variable. An exported repository has none."""
SOURCES_FILE: Final = "sources.zip"


class CodeOrigin(Frozen):
    """Where the code of one version is from.

    Attributes:
        folder: of the user's module, absolute; "" where each worker finds it as that of an exported repository, for on its
            machine it is elsewhere.
        sources: SHA-256 of the sources that are kept with the version.
    """

    folder: str
    sources: str


def code_files(folder: Path | None, snapshot: Snapshot) -> dict[str, bytes]:
    """What a version's folder holds of its code.

    Args:
        folder: that it seems to come from; None: each worker finds it by itself.
    """
    origin = CodeOrigin(folder="" if folder is None else str(folder.resolve()), sources=snapshot.digest)
    return {CODE_FILE: origin.document(), SOURCES_FILE: snapshot.archive}


def code_folder(version: Path, config: dict[str, Any]) -> Path:
    """The folder of a version's code, from which this process can import it from here on.

    Args:
        version: its folder.
        config: of its model, as JSON.

    Raises:
        DefinitionError: the sources that are kept with it are damaged.
    """
    if not (version / CODE_FILE).is_file():
        return _exported(version, config)
    origin = CodeOrigin.parse((version / CODE_FILE).read_bytes())
    archive = (version / SOURCES_FILE).read_bytes()
    if Snapshot(archive, 0).digest != origin.sources:
        raise DefinitionError(f"{version / SOURCES_FILE} is damaged", hint="deploy the service again")
    folder = Path(origin.folder) if origin.folder else _exported(version, config)
    import_from(archive, folder)
    return folder


def _exported(version: Path, config: dict[str, Any]) -> Path:
    given = os.environ.get(SERVICE_PATH_VARIABLE)
    return Path(given) if given else version.parents[1] / config["parameters"]["service_path"]["string_value"]
