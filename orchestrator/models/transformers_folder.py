"""Models of the transformers library in the folders that it writes."""

import json
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import StoreError
from orchestrator.formats.packages import package

__all__ = ["read_transformers", "write_transformers"]

_PIPELINE: Final = "pipeline.json"
"""Ours, beside the library's own files: which task a folder was a pipeline of, which those do not say."""


def write_transformers(model: Any, folder: Path) -> str:
    """Writes a pipeline, a model, a tokenizer or a processor."""
    model.save_pretrained(str(folder))
    task = getattr(model, "task", None)
    if isinstance(task, str):
        (folder / _PIPELINE).write_text(json.dumps({"task": task}))
    return ""


def read_transformers(folder: Path) -> Any:
    """Reads it back: a pipeline where one was saved, else an object of the class that the folder's `config.json` names.

    Raises:
        StoreError: the folder does not say what it is.
    """
    transformers = package("transformers", "to read its model", extra="torch")
    if (folder / _PIPELINE).is_file():
        task = json.loads((folder / _PIPELINE).read_text())["task"]
        return transformers.pipeline(task, model=str(folder))
    if not (folder / "config.json").is_file():
        raise StoreError(
            f"there is no config.json in {folder}", hint="load it with its own class: from_pretrained(model.path)"
        )
    names = json.loads((folder / "config.json").read_text()).get("architectures") or ["AutoModel"]
    return getattr(transformers, names[0], transformers.AutoModel).from_pretrained(str(folder))
