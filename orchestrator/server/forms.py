"""Forms: the parts of a body that has been read, as their sender wrote them. Nothing is ever put on a disk."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from orchestrator.errors import InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["FormPart", "read_multipart", "read_urlencoded"]

_MOST_PARTS: Final = 1000
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field of a form, or one file in it.

    Attributes:
        media_type: as its sender says, without parameters; "" where it does not.
        filename: None where the part is no file.
    """

    name: str
    content: bytes
    media_type: str = ""
    filename: str | None = None


def read_urlencoded(body: bytes) -> list[FormPart]:
    """The fields of an `application/x-www-form-urlencoded` body.

    Raises:
        InvalidInput: not UTF-8, or over 1000 fields.
    """
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARTS)
    except ValueError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    return [FormPart(name, value.encode()) for name, value in pairs]


def read_multipart(body: bytes, content_type: str) -> list[FormPart]:
    """The parts of a `multipart/form-data` body, in order.

    Args:
        content_type: of the request; names the boundary.

    Raises:
        InvalidInput: no such body, cut off, or over 1000 parts.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidInput("the form cannot be read: its content type names no boundary")
    collected = _Collector()
    try:
        MultipartParser(boundary, collected.callbacks()).write(body)
    except FormParserError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from None
    if not collected.ended:
        raise InvalidInput("the form cannot be read: it is cut off before its last boundary")
    return collected.parts


class _Collector:
    """What the parser finds."""

    def __init__(self) -> None:
        self.parts: list[FormPart] = []
        self.ended = False
        self._content: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._field = b""
        self._value = b""

    def callbacks(self) -> "MultipartCallbacks":
        return cast(
            "MultipartCallbacks",
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
        )

    def _begin(self) -> None:
        if len(self.parts) >= _MOST_PARTS:
            raise InvalidInput(f"the form has over {_MOST_PARTS} parts")
        self._content, self._headers = [], {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        kind, options = parse_options_header(self._headers.get("content-disposition"))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidInput("the form cannot be read: a part of it has no name")
        name = options[b"name"].decode(errors="replace")
        if self._headers.get("content-transfer-encoding", "").strip().lower() not in _PLAIN_ENCODINGS:
            raise InvalidInput.at(
                [name], "a part with a content-transfer-encoding is not read; send its bytes as they are"
            )
        filename = options.get(b"filename")
        content = b"".join(self._content)
        if filename == b"" and not content:
            return  # an HTML form's file field in which no file was chosen
        self.parts.append(
            FormPart(
                name,
                content,
                parse_options_header(self._headers.get("content-type"))[0].decode("latin-1"),
                None if filename is None else filename.decode(errors="replace"),
            )
        )

    def _finish(self) -> None:
        self.ended = True
