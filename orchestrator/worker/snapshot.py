"""A service's code as it was when its version was made: the Python sources of its folder, kept with the version.

A worker imports from them and nothing shows it: `__file__`, `__path__` and tracebacks name the original places, so that
code finds its data files, and pickles find their classes. What is not Python source (data, extension modules) is read
from the original folder.
"""

import hashlib
import importlib.machinery
import io
import linecache
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.abc import PathEntryFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_file_location
from pathlib import Path, PurePosixPath
from types import CodeType, ModuleType
from typing import Any, Final

from orchestrator.errors import CompileError

__all__ = ["MAX_BYTES", "MAX_FILES", "Snapshot", "import_from", "take_snapshot"]

MAX_FILES: Final = 5000
MAX_BYTES: Final = 32 * 2**20
_MAX_ENTRIES: Final = 100_000
"""Files and folders of any kind that are looked at before the folder counts as too large."""
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
_ENVIRONMENTS: Final = ("pyvenv.cfg", "conda-meta")
"""What the folder of a Python environment has in it."""
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The sources of a folder.

    Attributes:
        archive: a zip file; the names in it are relative to the folder, with forward slashes.
        files: how many there are.
    """

    archive: bytes
    files: int

    @property
    def digest(self) -> str:
        """SHA-256 of the archive: the same sources give the same one."""
        return hashlib.sha256(self.archive).hexdigest()


def take_snapshot(folder: Path) -> Snapshot:
    """Reads every `*.py` below a folder, but not those of hidden folders, Python environments and installed packages.

    Links to folders are not followed; what lies behind them is imported from where it is.

    Raises:
        CompileError: there are more than 5000 files or 32 MiB of them, or the folder is not to be read.
    """
    sources: dict[str, bytes] = {}
    size = 0
    try:
        for path in _sources_of(folder):
            content = path.read_bytes()
            size += len(content)
            sources[path.relative_to(folder).as_posix()] = content
            if len(sources) > MAX_FILES or size > MAX_BYTES:
                limit = f"{MAX_FILES} Python files" if size <= MAX_BYTES else f"{MAX_BYTES >> 20} MiB of Python code"
                raise _too_large(folder, limit)
    except OSError as error:
        raise CompileError(f"cannot read {error.filename or folder}: {error.strerror}") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(sources):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), sources[name], zipfile.ZIP_DEFLATED, 1)
    return Snapshot(buffer.getvalue(), len(sources))


def _sources_of(folder: Path) -> Iterator[Path]:
    seen = 0
    waiting = [str(folder)]
    while waiting:
        place = waiting.pop()
        entries = {entry.name: entry for entry in os.scandir(place)}
        seen += len(entries)
        if seen > _MAX_ENTRIES:
            raise _too_large(folder, f"{_MAX_ENTRIES} files")
        if any(mark in entries for mark in _ENVIRONMENTS):
            continue
        for name, entry in sorted(entries.items()):
            if entry.is_dir(follow_symlinks=False):
                if not name.startswith(".") and name not in _SKIPPED:
                    waiting.append(entry.path)
            elif name.endswith(".py") and entry.is_file() and not _is_compiled(name, entries):
                yield Path(entry.path)


def _is_compiled(name: str, entries: Mapping[str, Any]) -> bool:
    """Whether an extension module stands beside the source: Python prefers that one."""
    stem = name.removesuffix(".py")
    return any(stem + suffix in entries for suffix in importlib.machinery.EXTENSION_SUFFIXES)


def _too_large(folder: Path, limit: str) -> CompileError:
    return CompileError(
        f"{folder} has more than {limit}: its code is not kept by version",
        hint="--working-dir names the folder of the module; what is in a virtual environment does not count",
    )


def import_from(archive: bytes, folder: Path) -> None:
    """From now on this process imports what lies below the folder from the archive, as if it lay there.

    Args:
        archive: of `Snapshot`.
        folder: where the snapshot was taken.
    """
    sources = _Sources(archive, os.path.realpath(folder))

    def hook(entry: str) -> PathEntryFinder:
        relative = sources.relative(entry)
        if relative is None:
            raise ImportError(f"{entry} is not part of the snapshot")
        return _Finder(sources, entry, relative)

    sys.path_hooks.insert(0, hook)
    for entry in list(sys.path_importer_cache):
        if sources.relative(entry) is not None:
            del sys.path_importer_cache[entry]


class _Sources:
    """An archive, read on demand; it stays compressed."""

    def __init__(self, archive: bytes, folder: str) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(archive))
        self._folder = folder
        self._names = frozenset(self._zip.namelist())
        parents = {str(parent) for name in self._names for parent in PurePosixPath(name).parents}
        self._folders = frozenset({"" if parent == "." else parent for parent in parents} | {""})

    def relative(self, entry: str) -> str | None:
        """A folder's name inside the archive; None where it has nothing of that folder."""
        place = os.path.realpath(entry)
        if place == self._folder:
            return ""
        if not place.startswith(self._folder.rstrip(os.sep) + os.sep):
            return None
        name = os.path.relpath(place, self._folder).replace(os.sep, "/")
        return name if name in self._folders else None

    def has(self, name: str) -> bool:
        return name in self._names

    def has_folder(self, name: str) -> bool:
        return name in self._folders

    def read(self, name: str) -> bytes:
        return self._zip.read(name)

    def modules(self, folder: str) -> Iterator[tuple[str, bool]]:
        """Names of the modules right in a folder, and whether each is a package."""
        start = f"{folder}/" if folder else ""
        for name in sorted(self._names):
            head, slash, rest = name.removeprefix(start).partition("/")
            stem = head.removesuffix(".py")
            is_module = rest == "__init__.py" if slash else head not in ("", "__init__.py")
            if name.startswith(start) and is_module and "." not in stem:
                yield stem, bool(slash)


class _Finder(PathEntryFinder):
    """Stands in for Python's own finder of one folder."""

    def __init__(self, sources: _Sources, folder: str, relative: str) -> None:
        self._sources = sources
        self._folder = folder
        self._start = f"{relative}/" if relative else ""
        self._relative = relative
        self._on_disk = importlib.machinery.FileFinder(
            folder,
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES),
            (importlib.machinery.SourcelessFileLoader, importlib.machinery.BYTECODE_SUFFIXES),
        )

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        place = os.path.join(self._folder, name)
        inside = self._start + name
        if self._sources.has(f"{inside}/__init__.py"):
            return self._spec(fullname, os.path.join(place, "__init__.py"), f"{inside}/__init__.py", [place])
        if self._sources.has(f"{inside}.py"):
            return self._spec(fullname, f"{place}.py", f"{inside}.py", None)
        if self._sources.has_folder(inside):  # a namespace package; it must not become another one by a newer file
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [place]
            return spec
        return self._on_disk.find_spec(fullname, target)

    def invalidate_caches(self) -> None:
        self._on_disk.invalidate_caches()

    def iter_modules(self, prefix: str = "") -> Iterator[tuple[str, bool]]:
        """For `pkgutil`: plugins that were not there then are not there now."""
        for name, is_package in self._sources.modules(self._relative):
            yield prefix + name, is_package

    def _spec(self, fullname: str, path: str, inside: str, package: list[str] | None) -> ModuleSpec | None:
        loader = _Loader(fullname, path, self._sources, inside)
        return spec_from_file_location(fullname, path, loader=loader, submodule_search_locations=package)


class _Loader(importlib.machinery.SourceFileLoader):
    """Python's own, but for where the source comes from; no `.pyc` is read or written, for those go by the file's time."""

    def __init__(self, fullname: str, path: str, sources: _Sources, inside: str) -> None:
        super().__init__(fullname, path)
        self._sources = sources
        self._inside = inside

    def get_data(self, path: str) -> bytes:
        return self._sources.read(self._inside) if path == self.path else super().get_data(path)

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        raise OSError(f"{path} is in a snapshot")

    def get_code(self, fullname: str) -> CodeType | None:
        code = super().get_code(fullname)
        # Tracebacks and inspect.getsource read lines from here; the file itself may have others by now. Without a time the
        # entry is not compared with the file.
        source = self._sources.read(self._inside)
        linecache.cache[self.path] = (len(source), None, io.StringIO(decode_source(source)).readlines(), self.path)
        return code
