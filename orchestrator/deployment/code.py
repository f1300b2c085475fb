"""A service's code as a version of its Triton model."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.compiler import RepositoryPlan, Target, plan_repository
from orchestrator.deployment.configs import for_version
from orchestrator.deployment.folder import ModelFolder
from orchestrator.errors import CompileError
from orchestrator.spec import SPEC_FILE, Placement, ServiceSpec
from orchestrator.worker.snapshot import Snapshot, take_snapshot
from orchestrator.worker.source import CODE_FILE, SOURCES_FILE, CodeOrigin, code_files

__all__ = ["ServiceCode", "changed_files", "code_digest", "prepare_repository", "source_of"]


@dataclass(frozen=True, slots=True)
class ServiceCode:
    """A service as its author has it now.

    Attributes:
        folder: of its module, absolute.
        built_for: the Triton that will run it.
        service_path: how the repository's config names the folder, where workers find it by themselves; None: it is for
            them where it is for us.
    """

    spec: ServiceSpec
    folder: Path
    snapshot: Snapshot
    built_for: Target = Target.EMBEDDED
    service_path: str | None = None

    def config(self, version: int) -> str:
        """Text of the config.pbtxt for it."""
        plan = self._plan()
        name = self.spec.name
        text = next(content for path, content in plan.files.items() if path.parts == (name, "config.pbtxt"))
        return for_version(text.decode(), version)

    def write(self, place: Path) -> None:
        """Writes the version's files."""
        plan = self._plan()
        for path, content in plan.files.items():
            if path.parts[0] == self.spec.name and len(path.parts) == 3:
                (place / path.parts[2]).write_bytes(content)
        (place / SPEC_FILE).write_bytes(self.spec.document())
        for name, content in self._code_files().items():
            (place / name).write_bytes(content)

    @property
    def digest(self) -> str:
        """As `code_digest` of the version that `write` makes."""
        return _digest(self.spec, self._code_files()[CODE_FILE])

    def _code_files(self) -> dict[str, bytes]:
        return code_files(self.folder if self.service_path is None else None, self.snapshot)

    def _plan(self) -> RepositoryPlan:
        """Without its native models, which have versions of their own."""
        alone = self.spec.model_copy(update={"models": ()})
        path = str(self.folder) if self.service_path is None else self.service_path
        return plan_repository(alone, target=self.built_for, service_path=path)


def code_digest(version: Path) -> str:
    """Of a version's code and settings; not of the stored models that it reads, which move by themselves."""
    origin = (version / CODE_FILE).read_bytes() if (version / CODE_FILE).is_file() else b""
    return _digest(ServiceSpec.parse((version / SPEC_FILE).read_bytes()), origin)


def _digest(spec: ServiceSpec, origin: bytes) -> str:
    return hashlib.sha256(spec.model_copy(update={"stored": (), "models": ()}).document() + origin).hexdigest()


def changed_files(version: Path, code: ServiceCode) -> set[str]:
    """Python files, relative to the folder of the code, that are not as a version of another service has them.

    Nothing is known of a version without code of its own, or of a folder elsewhere.
    """
    if not (version / CODE_FILE).is_file():
        return set()
    origin = CodeOrigin.parse((version / CODE_FILE).read_bytes())
    if origin.folder not in ("", str(code.folder.resolve())) or origin.sources == code.snapshot.digest:
        return set()
    before = _checksums((version / SOURCES_FILE).read_bytes())
    after = _checksums(code.snapshot.archive)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _checksums(archive: bytes) -> dict[str, int]:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        return {each.filename: each.CRC for each in files.infolist()}


def source_of(version: Path) -> str:
    """Where a version's code is from, for people."""
    if not (version / CODE_FILE).is_file():
        return f"version {version.name}"
    folder = CodeOrigin.parse((version / CODE_FILE).read_bytes()).folder
    return f"version {version.name} of {folder}" if folder else f"version {version.name}"


def prepare_repository(repository: Path, service: ServiceSpec, folder: Path) -> str | None:
    """Makes a fresh repository one whose versions can move: each config names its version, the service's has its code.

    Args:
        repository: written, and not yet loaded.
        folder: of the service's code.

    Returns:
        Why the code is not kept by version, where it is not; the service's workers import it from its folder then.
    """
    for model in service.models:
        ModelFolder(repository, model.name).pin()
    if service.placement is not Placement.TRITON:
        return None
    own = ModelFolder(repository, service.name)
    try:
        for name, content in code_files(folder, take_snapshot(folder)).items():
            (own.version(own.serving) / name).write_bytes(content)
    except CompileError as error:
        return str(error)
    finally:
        own.pin()
    return None
