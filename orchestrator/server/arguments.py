"""A request's body -> the arguments of an API in plain form, validated by pydantic from the spec."""

from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from typing_extensions import NotRequired, Required, TypedDict

from orchestrator.codec import codec_of
from orchestrator.errors import InvalidInput, UnsupportedMedia
from orchestrator.spec import ApiSpec

__all__ = ["ArgumentReader"]

_OTHER_FORMS = ("multipart/", "application/x-www-form-urlencoded")


class ArgumentReader:
    """Reads bodies for one API. Fields that the API does not know are ignored."""

    def __init__(self, api: ApiSpec) -> None:
        fields = {
            argument.name: (Required if argument.required else NotRequired)[codec_of(argument.value.kind).edge_type(argument.value)]
            for argument in api.arguments
        }
        # A TypedDict and not a model: its keys may be any name (`copy`, `json`, `_x`).
        self._adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(TypedDict("Input", fields))  # type: ignore[operator]

    def read(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Reads one body. No body is an object without fields.

        Raises:
            InvalidInput: not JSON, or not these arguments.
            UnsupportedMedia: a form or a file.
        """
        if content_type.lower().startswith(_OTHER_FORMS):
            raise UnsupportedMedia(
                f"this route does not read {content_type.partition(';')[0]}", hint="send application/json"
            )
        try:
            document = from_json(body) if body.strip() else {}
        except ValueError as error:
            problem = {"type": "json_invalid", "loc": [], "msg": f"Invalid JSON: {error}"}
            raise InvalidInput(f"the body is not JSON: {error}", problems=[problem]) from error
        try:
            return self._adapter.validate_python(document)
        except ValidationError as error:
            raise _invalid(error) from error
        except RecursionError as error:
            raise InvalidInput("the body is nested too deeply") from error


def _invalid(error: ValidationError) -> InvalidInput:
    problems = [
        {"type": p["type"], "loc": list(p["loc"]), "msg": p["msg"].removeprefix("Value error, ")}
        for p in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidInput(f"{where}: {first['msg']}{more}" if where else f"{first['msg']}{more}", problems=problems)
