"""The APIs of a server, as its `/schema.json` tells them: their names, what they take, what they give. Sans I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from orchestrator.errors import ServiceFault

__all__ = ["SCHEMA_PATH", "Endpoint", "Form", "form_of", "read_schema"]

SCHEMA_PATH: Final = "/schema.json"


class Form(StrEnum):
    """How a value travels."""

    JSON = "json"
    TEXT = "text"
    BYTES = "bytes"
    TENSOR = "tensor"
    TABLE = "table"
    FILE = "file"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One API.

    Attributes:
        route: path on the server.
        parameters: name -> schema, in the method's order; empty where the whole body is one value.
        required: names of those that have no default.
        root: schema of the body, where the whole body is one value.
        output: schema of the result, or of one chunk.
        stream: the result comes in chunks.
    """

    name: str
    route: str
    doc: str | None
    parameters: Mapping[str, Mapping[str, Any]]
    required: frozenset[str]
    root: Mapping[str, Any] | None
    output: Mapping[str, Any]
    stream: bool

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name.

        Raises:
            TypeError: as a Python call of the method would.
        """
        if len(args) > len(self.parameters):
            raise TypeError(f"{self.name}() takes {len(self.parameters)} arguments, {len(args)} were given")
        given = dict(zip(self.parameters, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise TypeError(f"{self.name}() has no argument {name!r}; its arguments: {known}")
            if name in given:
                raise TypeError(f"{self.name}() got two values for {name!r}")
            given[name] = value
        missing = [name for name in self.parameters if name in self.required and name not in given]
        if missing:
            raise TypeError(f"{self.name}() misses {', '.join(map(repr, missing))}")
        return given

    def bind_root(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The one value that is the whole body, or none, which is for the server to judge.

        Raises:
            TypeError: it is not given alone and by position.
        """
        if kwargs or len(args) > 1:
            raise TypeError(f"{self.name}() takes exactly one argument, by position: it is the whole body")
        return tuple(args)


def read_schema(document: bytes) -> dict[str, Endpoint]:
    """The endpoints of a server, by name.

    Raises:
        ServiceFault: the document is not one.
    """
    try:
        return {route["name"]: _endpoint(route) for route in orjson.loads(document)["routes"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ServiceFault(f"{SCHEMA_PATH} of the server cannot be read: {error!r}") from error


def form_of(schema: Mapping[str, Any]) -> Form:
    """How a value of a schema travels; of `X | None` and of a list of files, what X and the files are."""
    for member in schema.get("anyOf", ()):
        if member.get("type") != "null" and (form := form_of(member)) is not Form.JSON:
            return form
    match schema.get("type"), schema.get("format"):
        case "tensor", _:
            return Form.TENSOR
        case "dataframe", _:
            return Form.TABLE
        case ("file", "image"):
            return Form.IMAGE
        case "file", _:
            return Form.IMAGE if schema.get("pil") else Form.FILE
        case ("string", "binary" | "bytes") | ("bytes", _):
            return Form.BYTES
        case "string", _:
            return Form.TEXT
        case "array", _ if isinstance(schema.get("items"), Mapping):
            inner = form_of(schema["items"])
            return inner if inner in (Form.FILE, Form.IMAGE) else Form.JSON
        case _:
            return Form.JSON


def _endpoint(route: Mapping[str, Any]) -> Endpoint:
    given, output = route["input"], route["output"]
    root = bool(given.get("root_input"))
    return Endpoint(
        name=route["name"],
        route=route["route"],
        doc=route.get("doc"),
        parameters={} if root else dict(given.get("properties", {})),
        required=frozenset() if root else frozenset(given.get("required", ())),
        root=given if root else None,
        output=output,
        stream=bool(output.get("is_stream")),
    )
