"""A form's parts -> the arguments that an API has of those names, before they are checked.

A form knows only text and files. Text is read as JSON where it is JSON, but stays what it is where the argument takes text:
`7` is a number for an `int` and text for a `str`. A JSON string is its content (BentoML's clients send text so).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import from_json

from orchestrator.codec.dataframe import form_of
from orchestrator.codec.npy import NPY, read_npy
from orchestrator.errors import InvalidInput
from orchestrator.server.forms import FormPart
from orchestrator.server.media import FILE_KINDS, JSON, PLAIN, is_files, is_json
from orchestrator.spec import ArgumentSpec, Blob, ValueKind, ValueSpec

__all__ = ["blob_of", "fields_of", "json_of", "object_of", "takes_text"]

_URL_SCHEMES: Final = (b"http://", b"https://", b"data:")
_NPY_MAGIC: Final = b"\x93NUMPY"


def fields_of(parts: Iterable[FormPart], arguments: Iterable[ArgumentSpec]) -> dict[str, Any]:
    """The arguments that the form has; parts of other names are ignored.

    Raises:
        InvalidInput: a part is not what its argument takes, or there are several where one is taken.
    """
    named = _by_name(parts)
    return {
        argument.name: _value(named[argument.name], argument.value, argument.name)
        for argument in arguments
        if argument.name in named
    }


def object_of(parts: Iterable[FormPart], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The whole form as one JSON object.

    Args:
        schema: of the object.
    """
    properties = _resolved(schema, schema).get("properties", {})
    return {
        name: _json_value(several, {**properties.get(name, {}), "$defs": schema.get("$defs", {})}, name)
        for name, several in _by_name(parts).items()
    }


def blob_of(part: FormPart) -> Blob:
    """A part as a file."""
    return Blob(part.content, part.media_type or None, part.filename)


def _by_name(parts: Iterable[FormPart]) -> dict[str, list[FormPart]]:
    named: dict[str, list[FormPart]] = {}
    for part in parts:
        named.setdefault(part.name, []).append(part)
    return named


def _value(parts: Sequence[FormPart], value: ValueSpec, name: str) -> Any:
    if is_files(value):
        return _files(parts, name)
    if value.kind is ValueKind.MANY and any(_is_npy(part) for part in parts):
        return [_array(part, name) for part in parts]
    if value.kind in FILE_KINDS:
        return _file(_only(parts, name), value, name)
    if value.kind is ValueKind.TABLE:
        return _table(_only(parts, name), value, name)
    if value.kind is ValueKind.ARRAY and len(parts) == 1 and _is_npy(parts[0]):
        return _array(parts[0], name)
    if value.kind is ValueKind.ARRAY and len(parts) == 1 and value.shape is None:
        return _decoded(parts[0], {}, name)  # a lone number is an array, too
    return _json_value(parts, value.json_schema, name)


def _files(parts: Sequence[FormPart], name: str) -> list[Any]:
    files: list[Any] = []
    for part in parts:
        if _is_file(part):
            files.append(blob_of(part))
            continue
        text = _text(part, name)
        content = _from_json(text) if text.lstrip()[:1] in ('"', "[") else text
        files.extend(content if isinstance(content, list) else [content])
    return files


def _file(part: FormPart, value: ValueSpec, name: str) -> Any:
    if _is_file(part):
        return blob_of(part)
    start = part.content.lstrip(b"\"' ")[:8].lower()
    if value.kind is not ValueKind.BLOB and not start.startswith(_URL_SCHEMES):
        return blob_of(part)  # the content itself, from a sender who gave it no name
    try:
        text = part.content.decode()
    except UnicodeDecodeError:
        return blob_of(part)
    return _unquoted(text)


def _table(part: FormPart, value: ValueSpec, name: str) -> Any:
    if not _is_file(part):
        return _decoded(part, value.json_schema, name)
    blob = blob_of(part)
    try:
        form = form_of(blob)
    except ValueError as error:
        raise InvalidInput.at([name], str(error)) from None
    return _decoded(part, value.json_schema, name) if form == JSON else blob


def _array(part: FormPart, name: str) -> Any:
    try:
        return read_npy(part.content)
    except ValueError as error:
        raise InvalidInput.at([name], str(error)) from None


def _json_value(parts: Sequence[FormPart], schema: Mapping[str, Any], name: str) -> Any:
    accepted = _json_types(schema, schema)
    is_list = accepted is not None and "array" in accepted
    if len(parts) > 1:
        if accepted is not None and not is_list:
            _only(parts, name)
        return [_decoded(part, _items(schema), name) for part in parts]
    if not is_list:
        return _decoded(parts[0], schema, name)
    content = _decoded(parts[0], schema, name)
    if isinstance(content, list) or (accepted and _json_type(content) & (accepted - {"array"})):
        return content
    return [_decoded(parts[0], _items(schema), name)]


def _decoded(part: FormPart, schema: Mapping[str, Any], name: str) -> Any:
    text = _text(part, name)
    try:
        return json_of(text, schema, part.media_type)
    except ValueError as error:
        raise InvalidInput.at([name], f"is not JSON: {error}", kind="json_invalid") from None


def json_of(text: str, schema: Mapping[str, Any], media_type: str = "") -> Any:
    """The JSON value that a text is for somebody who takes values of the schema: the text itself where that is one.

    Args:
        media_type: as its sender says; "" where it does not.

    Raises:
        ValueError: it is to be JSON and is not.
    """
    if is_json(media_type):
        return from_json(text)
    accepted = _json_types(schema, schema)
    takes_text = accepted is not None and "string" in accepted
    if takes_text and media_type == PLAIN:
        return text
    try:
        content = from_json(text)
    except ValueError:
        return text
    return text if takes_text and not _json_type(content) & (accepted or set()) else content


def takes_text(schema: Mapping[str, Any]) -> bool:
    """Whether text is a value of the schema, and not every value is."""
    return "string" in (_json_types(schema, schema) or ())


def _only(parts: Sequence[FormPart], name: str) -> FormPart:
    if len(parts) > 1:
        raise InvalidInput.at([name], f"is there {len(parts)} times; one is taken")
    return parts[0]


def _is_file(part: FormPart) -> bool:
    return part.filename is not None or part.media_type not in ("", PLAIN)


def _is_npy(part: FormPart) -> bool:
    return part.media_type == NPY or part.content.startswith(_NPY_MAGIC)


def _text(part: FormPart, name: str) -> str:
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise InvalidInput.at([name], "is not UTF-8 text") from None


def _unquoted(text: str) -> str:
    content = _from_json(text) if text[:1] == '"' else text.strip("'")
    return content if isinstance(content, str) else text


def _from_json(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return text


def _items(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a list's items, with the definitions that it may name."""
    resolved = _resolved(schema, schema)
    for union in ("anyOf", "oneOf"):
        for member in resolved.get(union, ()):
            if _resolved(member, schema).get("type") == "array":
                resolved = _resolved(member, schema)
    items = resolved.get("items")
    return {**items, "$defs": schema.get("$defs", {})} if isinstance(items, Mapping) else {}


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(8):
        if "$ref" not in schema:
            break
        schema = document.get("$defs", {}).get(str(schema["$ref"]).rsplit("/", 1)[-1], {})
    return schema


def _json_types(schema: Any, document: Mapping[str, Any], depth: int = 0) -> set[str] | None:
    """The types of JSON value that a schema takes, by their names in JSON Schema; None for any."""
    if not isinstance(schema, Mapping) or depth > 8:
        return None
    schema = _resolved(schema, document)
    if "allOf" in schema:
        return _json_types(schema["allOf"][0], document, depth + 1)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            types: set[str] = set()
            for member in schema[union]:
                of_member = _json_types(member, document, depth + 1)
                if of_member is None:
                    return None
                types |= of_member
            return types
    if "const" in schema:
        return _json_type(schema["const"])
    if "enum" in schema:
        return {name for member in schema["enum"] for name in _json_type(member)}
    match schema.get("type"):
        case str(name):
            return {name}
        case list(names):
            return set(names)
        case _:
            return None


def _json_type(content: Any) -> set[str]:
    match content:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
        case _:
            return {"object"}
