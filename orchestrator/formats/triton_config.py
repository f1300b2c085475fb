"""Inputs and outputs from somebody's config.pbtxt.

Protobuf's own parser knows only the fields of its message class, which is tritonclient's and too heavy for a model file.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from orchestrator.errors import DefinitionError
from orchestrator.spec import ANY, DType, TensorSpec

__all__ = ["read_config"]

_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[\w.+-]+)|(?P<mark>[\[\]{}<>:,;])"""
)
_CLOSING: Final = {"{": "}", "<": ">"}
Message = dict[str, list[Any]]
"""Field -> its values: words, texts and messages."""


def read_config(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; with a batch axis in front where `max_batch_size` says that there is one.

    Raises:
        DefinitionError: it is broken, with the line; or has a dtype that we do not.
    """
    try:
        config = _Parser(path.read_text(encoding="utf-8")).message("")
        batched = int(config.get("max_batch_size", ["0"])[-1]) > 0
        inputs = tuple(_tensor(each, batched) for each in config.get("input", ()))
        outputs = tuple(_tensor(each, batched) for each in config.get("output", ()))
    except (ValueError, SyntaxError, TypeError, AttributeError, KeyError, OSError, RecursionError) as error:
        raise DefinitionError(f"this is not a config.pbtxt: {error}", file=str(path)) from error
    return inputs, outputs


def _tensor(tensor: Any, batched: bool) -> TensorSpec:
    if not isinstance(tensor, dict) or not {"name", "data_type"} <= set(tensor):
        raise ValueError("an input or output has no name and data_type")
    name, word = tensor["name"][-1], tensor["data_type"][-1].removeprefix("TYPE_")
    if word != "STRING" and word not in DType.__members__:
        raise ValueError(f"{name!r} is of {word}, which we do not have")
    dims = tuple(int(length) for length in tensor.get("dims", ()))
    return TensorSpec(
        name=name,
        dtype=DType.BYTES if word == "STRING" else DType(word),
        shape=(ANY, *dims) if batched else dims,
        optional=tensor.get("optional", ["false"])[-1] == "true",
    )


class _Parser:
    """Protobuf's text format. Errors are ValueErrors with the line."""

    def __init__(self, text: str) -> None:
        self._tokens = list(self._read(text))
        self._next = 0

    def message(self, end: str) -> Message:
        """The fields up to a closing mark; "" for the end of the file."""
        fields: Message = {}
        while (token := self._take()) != end:
            if token in (",", ";"):
                continue
            if not re.fullmatch(r"\w+", token):
                raise self._error(f"{token!r} is no field")
            if self._peek() == ":":
                self._take()
            fields.setdefault(token, []).extend(self._values())
        return fields

    def _values(self) -> Iterator[Any]:
        if self._peek() != "[":
            yield self._value()
            return
        self._take()
        while self._peek() != "]":
            yield self._value()
            if self._peek() == ",":
                self._take()
        self._take()

    def _value(self) -> Any:
        token = self._take()
        if token in _CLOSING:
            return self.message(_CLOSING[token])
        if not re.match(r"[\w.+'\"-]", token):
            raise self._error(f"{token!r} is no value" if token else "the file ends too early")
        if token[0] not in "\"'":
            return token
        texts = [ast.literal_eval(token)]
        while self._peek()[:1] in ("'", '"'):  # as in C, texts in a row are one
            texts.append(ast.literal_eval(self._take()))
        return "".join(texts)

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _error(self, problem: str) -> ValueError:
        line = self._tokens[min(self._next, len(self._tokens)) - 1][1] if self._tokens else 1
        return ValueError(f"line {line}: {problem}")

    def _read(self, text: str) -> Iterator[tuple[str, int]]:
        place, line = 0, 1
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"line {line}: {text[place]!r} does not belong here")
            if match.lastgroup != "skip":
                yield match[0], line
            line += match[0].count("\n")
            place = match.end()
