"""A native model -> the files of its Triton model."""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from orchestrator.compiler.config import config_text
from orchestrator.compiler.native_config import Shapes, native_config, runs_in_our_worker
from orchestrator.compiler.repository import RepositoryPlan, Target
from orchestrator.errors import CompileError
from orchestrator.formats import MODEL_SPEC_FILE, SAMPLE_FILE, ModelFiles, read_sample
from orchestrator.spec import NativeModelSpec

__all__ = ["plan_model"]

_NAME: Final = re.compile(r"\w[\w.-]*")
_MODEL_PY: Final = '''\
"""Written by `orchestrator export`. What it runs is said in `model.json` beside it."""

from orchestrator.worker.native_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def plan_model(spec: NativeModelSpec, files: ModelFiles, target: Target) -> RepositoryPlan:
    """The files of one model, with the one version that it has.

    Args:
        files: on this machine; they become copies in the repository.

    Raises:
        CompileError: options that do not go together, or a file whose name we need.
    """
    if not _NAME.fullmatch(spec.name):
        raise CompileError(f"{spec.name!r} cannot be the name of a Triton model", hint="letters, digits, '.', '_', '-'")
    config = native_config(spec, target, sample=_shapes(files))
    root = PurePosixPath(spec.name)
    version = root / str(spec.version)
    planned = {root / "config.pbtxt": config_text(config).encode(), version / MODEL_SPEC_FILE: spec.shared().document()}
    copies: dict[PurePosixPath, Path] = {version / name: source for name, source in files.files.items()}
    if runs_in_our_worker(spec, target):
        planned[version / "model.py"] = _MODEL_PY.encode()
        if files.sample:
            copies[version / SAMPLE_FILE] = files.sample
    if version / spec.file not in copies:
        raise CompileError(f"model {spec.name!r}: its file {spec.file} is not among its files")
    for path in planned:
        if path in copies:
            raise CompileError(f"model {spec.name!r}: {copies[path]} has a name that we need", hint="rename it")
    return RepositoryPlan(planned, (spec.name,), copies)


def _shapes(files: ModelFiles) -> Shapes | None:
    if files.sample is None:
        return None
    return {name: array.shape for name, array in read_sample(files.sample).inputs.items()}
