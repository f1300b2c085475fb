"""Arguments of a call from Python to Python, and its answer: the user's own types on both sides, checked as callers' are."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from orchestrator.codec.codec import Workspace
from orchestrator.codec.registry import codec_of
from orchestrator.errors import InvalidInput, OutputMismatch
from orchestrator.sdk.definition import ApiBinding
from orchestrator.spec import ArgumentSpec, Passing

__all__ = ["argument_problem", "plain_arguments", "python_result", "sentence_of"]

logger = logging.getLogger("orchestrator.worker")
_dropped: set[tuple[str, str]] = set()


def plain_arguments(where: str, api: ApiBinding, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The plain forms of a call's arguments by name; those left to their defaults are missing.

    Keywords that the API does not have are dropped, with one warning: BentoML drops them, and its users count on it.

    Args:
        where: `Service.api`, for errors.

    Raises:
        InvalidInput: an argument is missing, too many, or not what its annotation takes.
    """
    given = _by_name(where, api.spec.arguments, args, dict(kwargs))
    return {
        argument.name: _plain(where, argument, api, given[argument.name])
        for argument in api.spec.arguments
        if argument.name in given
    }


def python_result(where: str, api: ApiBinding, plain: Any, workspace: Workspace) -> Any:
    """The answer of a call in the type of its annotation.

    Args:
        where: `Service.api`, for errors.
        workspace: for answers that are files.

    Raises:
        OutputMismatch: the annotation refuses it.
    """
    value = api.spec.result
    if plain is None and value.nullable:
        return None
    try:
        return codec_of(value.kind).to_python(value, _readers(plain), api.result, workspace)
    except ValueError as error:
        raise OutputMismatch(f"{where} returned what its annotation does not allow: {sentence_of(error)}") from error


def argument_problem(argument: str, error: ValueError) -> InvalidInput:
    """An argument that its annotation refuses, as the caller sees it."""
    if not isinstance(error, ValidationError):
        return InvalidInput.at([argument], str(error))
    problems = [
        {"type": p["type"], "loc": [argument, *p["loc"]], "msg": p["msg"]}
        for p in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return InvalidInput(_sentence(problems[0]), problems=problems)


def sentence_of(error: Exception) -> str:
    """What is wrong, without the value itself: it may be a secret."""
    if not isinstance(error, ValidationError):
        return str(error)
    return _sentence(error.errors(include_url=False, include_context=False, include_input=False)[0])


def _sentence(problem: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _by_name(
    where: str, arguments: Sequence[ArgumentSpec], args: Sequence[Any], kwargs: dict[str, Any]
) -> dict[str, Any]:
    given: dict[str, Any] = {}
    rest = list(args)
    for argument in arguments:
        if argument.passing is Passing.SPREAD:
            if rest:
                given[argument.name] = rest
            rest = []
        elif argument.passing is not Passing.SPREAD_KEYWORDS and rest:
            given[argument.name] = rest.pop(0)
            if argument.name in kwargs:
                raise InvalidInput.at([where, argument.name], "was given twice, by its place and by its name")
    if rest:
        raise InvalidInput.at([where], f"takes {len(args) - len(rest)} arguments, not {len(args)}")
    for argument in arguments:
        if argument.passing is Passing.SPREAD_KEYWORDS:
            others = {name: kwargs.pop(name) for name in list(kwargs) if name not in {each.name for each in arguments}}
            if others:
                given[argument.name] = others
        elif argument.name in kwargs:
            given[argument.name] = kwargs.pop(argument.name)
        elif argument.name not in given and argument.required:
            raise InvalidInput.at([where, argument.name], "Field required", kind="missing")
    for name in kwargs:
        if (where, name) not in _dropped:
            _dropped.add((where, name))
            logger.warning("%s has no argument %r; it is left away", where, name)
    return given


def _plain(where: str, argument: ArgumentSpec, api: ApiBinding, python: Any) -> Any:
    if python is None and argument.value.nullable:
        return None
    try:
        plain = codec_of(argument.value.kind).from_python(argument.value, python, api.arguments[argument.name])
        return _own(plain, python)
    except InvalidInput:
        raise
    except (TypeError, ValueError) as error:
        problem = argument_problem(argument.name, error if isinstance(error, ValueError) else ValueError(str(error)))
        raise InvalidInput(
            f"{where}: {problem.message}",
            problems=[{**each, "loc": [where, *each["loc"]]} for each in problem.problems],
        ) from error


def _own(plain: Any, python: Any) -> Any:
    """An array that is not the caller's: a service in the same process may write into it, and the caller may meanwhile."""
    is_theirs = isinstance(plain, np.ndarray) and (plain is python or plain.base is not None)
    return plain.copy() if is_theirs else plain


def _readers(plain: Any) -> Any:
    """An answer that its reader may change: an array lies in the message that it came in, or is the other service's own."""
    return plain.copy() if isinstance(plain, np.ndarray) else plain
