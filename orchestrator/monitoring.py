"""What a service sees and says, written down for people who watch its models: `with orchestrator.monitor("iris") as m:`.

One folder a monitor, in the folder of `ORCHESTRATOR_MONITORING` (default: `monitoring` in `ORCHESTRATOR_HOME`):

- `data.jsonl`: one JSON object a record, the values by name, and `timestamp`, `service` and `worker`;
- `schema.json`: what the names are: `{"columns": [{"name": ..., "role": ..., "type": ...}]}`.

Workers share the files: the lines of a block are appended in one write.
"""

import datetime
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

import orjson

from orchestrator.sdk.context import server_context
from orchestrator.settings import Settings

__all__ = ["Monitor", "monitor"]

Role = Literal["feature", "prediction", "target"]
DataType = Literal["numerical", "categorical", "numerical_sequence"]
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_OWN: Final = frozenset({"timestamp", "service", "worker"})

logger = logging.getLogger("orchestrator.monitoring")


class Monitor:
    """A record in the making, or several."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}
        self._columns: list[dict[str, str]] = []

    def log(self, data: Any, name: str, role: Role, data_type: DataType) -> None:
        """Adds one value.

        Args:
            data: anything that JSON knows, or a numpy value; other things as their text.
            name: of the value; once a block.
            role: what it is to the model: "feature", "prediction" or "target".
            data_type: "numerical", "categorical" or "numerical_sequence".

        Raises:
            ValueError: another role or type, or a name that is taken.
        """
        self.log_batch((data,), name, role, data_type)

    def log_batch(self, data: Iterable[Any], name: str, role: Role, data_type: DataType) -> None:
        """Adds one value to each of several records; every name of the block then has as many.

        Args:
            data: the values; the rest as in `log`.

        Raises:
            ValueError: as `log`, or more or fewer values than another name has.
        """
        for what, word, known in (("role", role, get_args(Role)), ("data_type", data_type, get_args(DataType))):
            if word not in known:
                raise ValueError(f"monitor: {what}={word!r}: takes {', '.join(known)}")
        if name in self._values or name in _OWN:
            raise ValueError(f"monitor: the name {name!r} is taken")
        values = list(data)
        for other, present in self._values.items():
            if len(present) != len(values):
                raise ValueError(f"monitor: {name!r} has {len(values)} values where {other!r} has {len(present)}")
        self._values[name] = values
        self._columns.append({"name": name, "role": role, "type": data_type})

    def records(self) -> bytes:
        """The lines of `data.jsonl`."""
        own = {
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(),
            "service": server_context.service_name,
            "worker": server_context.worker_index,
        }
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
        rows = (dict(zip(self._values, row, strict=True)) for row in zip(*self._values.values(), strict=True))
        return b"".join(orjson.dumps(own | row, default=_text, option=options) for row in rows)

    def schema(self) -> bytes:
        """The document of `schema.json`."""
        return orjson.dumps({"columns": self._columns})


@contextmanager
def monitor(name: str) -> Iterator[Monitor]:
    """Records values of one call; written when the block ends, and not where it fails.

        with orchestrator.monitor("iris") as mon:
            mon.log(5.1, name="sepal length", role="feature", data_type="numerical")

    What cannot be written is told once in the log, and fails no call.

    Args:
        name: of the monitor, and of its folder.

    Raises:
        ValueError: it cannot be the name of a folder.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"monitor: {name!r} cannot be a name: it takes letters, digits, '_', '-' and '.'")
    making = Monitor()
    yield making
    try:
        _write(_folder() / name, making)
    except (OSError, TypeError) as error:
        _refused(str(error))


def _write(folder: Path, made: Monitor) -> None:
    _describe(folder, made.schema())
    lines = made.records()
    descriptor = os.open(folder / "data.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, lines)
    finally:
        os.close(descriptor)


@cache
def _describe(folder: Path, schema: bytes) -> None:
    """Writes the schema, once a process for each that there is."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f".schema.{os.getpid()}.{threading.get_ident()}"
    fresh.write_bytes(schema)
    fresh.replace(folder / "schema.json")


@cache
def _folder() -> Path:
    return Settings.load().monitoring


@cache
def _refused(reason: str) -> None:
    logger.warning("monitor: cannot write: %s; what follows is lost", reason)


def _text(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
