"""A request's body -> the arguments of an API in plain form, validated by pydantic from the spec."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NotRequired, Required

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import TypedDict

from orchestrator.codec import codec_of
from orchestrator.codec.npy import NPY, read_npy
from orchestrator.errors import InvalidInput, UnsupportedMedia
from orchestrator.server.fetch import Fetcher, Location, is_url
from orchestrator.server.fields import blob_of, fields_of, json_of, object_of, takes_text
from orchestrator.server.forms import FormPart, read_multipart, read_urlencoded
from orchestrator.server.media import (
    FILE_KINDS,
    FORM,
    JSON,
    MULTIPART,
    PICKLE,
    PLAIN,
    TABLES,
    UNKNOWN,
    canonical,
    is_files,
    is_json,
    is_raw,
)
from orchestrator.spec import ApiSpec, ArgumentSpec, Blob, ValueKind

__all__ = ["ArgumentReader", "readable_types", "sole"]

_UNSAID: Final = frozenset({"", JSON, FORM})
"""What tools call a body when nobody has told them what it is."""
_LONG_FORM: Final = 100_000
"""Bytes of a url-encoded form that are decoded in a millisecond or two; a longer one would hold up everybody."""
_DOCUMENT_STARTS: Final = (b"{", b"[")
_FETCHED_KINDS: Final = frozenset({ValueKind.FILE, ValueKind.IMAGE})


def sole(api: ApiSpec, *kinds: ValueKind) -> ArgumentSpec | None:
    """The argument that a body which is no JSON and no form can be: the only one of these kinds; no other is required."""
    matching = [argument for argument in api.arguments if argument.value.kind in kinds]
    if len(matching) != 1 or any(argument.required and argument is not matching[0] for argument in api.arguments):
        return None
    return matching[0]


def readable_types(api: ApiSpec) -> list[str]:
    """The media types of the bodies that an API reads, the best first."""
    root = api.arguments[0].value if api.root else None
    types: list[str] = []
    if root is None:
        types += [JSON, MULTIPART, FORM]
    elif root.kind is ValueKind.TEXT:
        types += [PLAIN]
    elif root.kind not in FILE_KINDS:
        types += [JSON]
    file = sole(api, *FILE_KINDS)
    if file is not None:
        types += file.value.media_types or ["image/*" if file.value.kind is ValueKind.IMAGE else UNKNOWN]
        types += [MULTIPART] if root is not None else []
    types += [NPY] if sole(api, ValueKind.ARRAY) else []
    types += TABLES if sole(api, ValueKind.TABLE) else []
    return types


class ArgumentReader:
    """Reads bodies for one API. Fields that the API does not know are ignored.

    Args:
        fetcher: for files that the caller names by URL.
    """

    def __init__(self, api: ApiSpec, fetcher: Fetcher) -> None:
        self._api = api
        self._fetcher = fetcher
        self._root = api.arguments[0] if api.root else None
        self._file = sole(api, *FILE_KINDS)
        self._array = sole(api, ValueKind.ARRAY)
        self._table = sole(api, ValueKind.TABLE)
        self._by_url = tuple(argument for argument in api.arguments if _is_fetched(argument))
        fields = {
            argument.name: (Required if argument.required else NotRequired)[
                codec_of(argument.value.kind).edge_type(argument.value)
            ]
            for argument in api.arguments
        }
        # A TypedDict and not a model: its keys may be any name (`copy`, `json`, `_x`).
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(TypedDict("Input", fields))  # type: ignore[operator]

    async def read(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Reads one body. No body is an object without fields.

        Raises:
            InvalidInput: not what its type says, or not these arguments; see `placed`.
            UnsupportedMedia: of a type that the API has no use for.
        """
        media_type = canonical(content_type)
        if media_type == PICKLE:
            raise self._unsupported(media_type)
        if media_type == FORM and len(body) > _LONG_FORM:
            document = await asyncio.to_thread(self._document, body, media_type, content_type)
        else:
            document = self._document(body, media_type, content_type)
        if self._by_url and isinstance(document, dict):
            await self._fetch(document)
        try:
            return self._adapter.validate_python(document)
        except ValidationError as error:
            raise _invalid(error) from error
        except RecursionError as error:
            raise InvalidInput("the body is nested too deeply") from error

    def placed(self, error: InvalidInput) -> InvalidInput:
        """The error with its problems where the caller finds them: in a body that is the argument, from that on."""
        if self._root is None:
            return error
        name = self._root.name
        problems = [{**p, "loc": p["loc"][1:] if list(p["loc"][:1]) == [name] else p["loc"]} for p in error.problems]
        message = error.message.removeprefix(f"{name}: ").removeprefix(f"{name}.")
        return InvalidInput(message, problems=problems, hint=error.hint)

    def _document(self, body: bytes, media_type: str, content_type: str) -> Any:
        if self._root is not None:
            return self._of_root(self._root, body, media_type, content_type)
        return self._of_fields(body, media_type, content_type)

    def _of_fields(self, body: bytes, media_type: str, content_type: str) -> Any:
        if not media_type or is_json(media_type):
            return _json(body)
        if media_type == FORM:
            # What `curl -d '{...}'` calls it.
            return _json(body) if body.lstrip()[:1] in _DOCUMENT_STARTS else self._of_form(read_urlencoded(body))
        if media_type == MULTIPART:
            return self._of_form(read_multipart(body, content_type))
        whole = self._whole_argument(media_type, body)
        if whole is not None:
            return {whole.name: self._whole(whole, body, content_type)}
        self._refuse_binary(media_type)
        return _json(body)

    def _of_form(self, parts: list[FormPart]) -> dict[str, Any]:
        return fields_of(parts, self._api.arguments)

    def _whole_argument(self, media_type: str, body: bytes) -> ArgumentSpec | None:
        """The argument that the whole body is."""
        if media_type == NPY and self._array is not None:
            return self._array
        if media_type in TABLES and self._table is not None:
            return self._table
        if (
            self._file is None
            or media_type.startswith("multipart/")
            or (not is_raw(media_type) and _has_field(body, self._file.name))
        ):
            return None  # JSON under another name; a page's script calls it `text/plain`
        return self._file

    def _of_root(self, root: ArgumentSpec, body: bytes, media_type: str, content_type: str) -> dict[str, Any]:
        kind = root.value.kind
        if not body and not root.required:
            return {}
        if kind is ValueKind.TEXT:
            return {root.name: _text(body)}
        if kind in FILE_KINDS:
            return {root.name: self._file_root(root, body, media_type, content_type)}
        if (media_type == NPY and kind is ValueKind.ARRAY) or (media_type in TABLES and kind is ValueKind.TABLE):
            return {root.name: self._whole(root, body, content_type)}
        if kind is ValueKind.JSON:
            return {root.name: self._json_root(root.value.json_schema, body, media_type, content_type)}
        self._refuse_binary(media_type)
        return {root.name: _json(body)}

    def _json_root(self, schema: Mapping[str, Any], body: bytes, media_type: str, content_type: str) -> Any:
        if media_type == MULTIPART:
            return object_of(read_multipart(body, content_type), schema)
        if media_type == FORM and body.lstrip()[:1] not in _DOCUMENT_STARTS:
            return object_of(read_urlencoded(body), schema)
        self._refuse_binary(media_type)
        if takes_text(schema) and not is_json(media_type):
            return json_of(_text(body), schema, media_type)
        return _json(body)

    def _file_root(self, root: ArgumentSpec, body: bytes, media_type: str, content_type: str) -> Any:
        if media_type == MULTIPART:
            parts = read_multipart(body, content_type)
            if len(parts) != 1:
                raise InvalidInput(f"the form has {len(parts)} parts; one file is taken")
            body, media_type = parts[0].content, parts[0].media_type
            if parts[0].filename is not None:
                return blob_of(parts[0])
        if root.value.kind in _FETCHED_KINDS:
            start = body.lstrip(b" \t\r\n\"'")[:8].lower()
            if start.startswith((b"http://", b"https://")):
                url = _unquoted(body.decode(errors="replace"))
                if is_url(url):
                    return url
        patterns = root.value.media_types
        if media_type in _UNSAID and not (patterns and Blob(b"", media_type).is_one_of(patterns)):
            return Blob(body)
        return Blob(body, media_type)

    def _whole(self, argument: ArgumentSpec, body: bytes, content_type: str) -> Any:
        if argument.value.kind is ValueKind.ARRAY:
            try:
                return read_npy(body)
            except ValueError as error:
                raise InvalidInput.at([argument.name], str(error)) from error
        return Blob(body, content_type)

    async def _fetch(self, document: dict[str, Any]) -> None:
        """Puts the files in the place of their URLs."""
        places: list[tuple[Any, str | int]] = []
        wanted: list[tuple[Location, str]] = []
        for argument in self._by_url:
            value = document.get(argument.name)
            slots: list[tuple[Any, str | int, Any, Location]] = [(document, argument.name, value, (argument.name,))]
            if is_files(argument.value) and isinstance(value, list):
                slots = [(value, index, item, (argument.name, index)) for index, item in enumerate(value)]
            for container, key, item, location in slots:
                if isinstance(item, str) and is_url(item.strip()):
                    places.append((container, key))
                    wanted.append((location, item.strip()))
        if wanted:
            for (container, key), file in zip(places, await self._fetcher.fetch(wanted), strict=True):
                container[key] = file

    def _refuse_binary(self, media_type: str) -> None:
        """What cannot be JSON under another name."""
        if media_type == NPY or media_type in TABLES or media_type.startswith("multipart/") or is_raw(media_type):
            raise self._unsupported(media_type)

    def _unsupported(self, media_type: str) -> UnsupportedMedia:
        return UnsupportedMedia(
            f"this route does not read {media_type}", hint=f"it reads {', '.join(readable_types(self._api))}"
        )


def _edge_type(argument: ArgumentSpec) -> Any:
    return codec_of(argument.value.kind).edge_type(argument.value)


def _is_fetched(argument: ArgumentSpec) -> bool:
    item = argument.value.item if is_files(argument.value) else None
    return (item or argument.value).kind in _FETCHED_KINDS


def _json(body: bytes) -> Any:
    try:
        return from_json(body) if body.strip() else {}
    except ValueError as error:
        problem = {"type": "json_invalid", "loc": [], "msg": f"Invalid JSON: {error}"}
        raise InvalidInput(f"the body is not JSON: {error}", problems=[problem]) from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 text: {error}") from error


def _has_field(body: bytes, name: str) -> bool:
    if body.lstrip()[:1] != b"{":
        return False
    try:
        content = from_json(body)
    except ValueError:
        return False
    return isinstance(content, Mapping) and name in content


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'").strip()


def _invalid(error: ValidationError) -> InvalidInput:
    problems = [
        {"type": p["type"], "loc": list(p["loc"]), "msg": p["msg"].removeprefix("Value error, ")}
        for p in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidInput(f"{where}: {first['msg']}{more}" if where else f"{first['msg']}{more}", problems=problems)
