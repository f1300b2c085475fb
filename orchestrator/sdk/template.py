"""Template arguments: what `--arg key=value` hands to the user's module while it is imported."""

import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from orchestrator.errors import DefinitionError

__all__ = ["Arguments", "given_arguments", "set_arguments", "use_arguments"]

M = TypeVar("M", bound=BaseModel)
_given: dict[str, Any] = {}


class Arguments(SimpleNamespace):
    """Template arguments without a model: text by name, as an attribute or a key."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"the template argument {name!r} is not given; give it with --arg {name}=...")

    def __getitem__(self, name: str) -> Any:
        try:
            return vars(self)[name]
        except KeyError:
            raise KeyError(f"the template argument {name!r} is not given; give it with --arg {name}=...") from None

    def __contains__(self, name: object) -> bool:
        return name in vars(self)

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


def set_arguments(arguments: Mapping[str, Any]) -> None:
    """Sets what `use_arguments` gives in this process, which has one service."""
    _given.clear()
    _given.update(arguments)


def given_arguments() -> dict[str, Any]:
    """What was set."""
    return dict(_given)


@overload
def use_arguments(model: type[M]) -> M: ...
@overload
def use_arguments(model: None = None) -> Arguments: ...
def use_arguments(model: type[M] | None = None) -> M | Arguments:
    """The template arguments of this run.

        class Args(BaseModel):
            model_name: str
            gpus: int = 1

        args = orchestrator.use_arguments(Args)

    `orchestrator serve service:Llm --arg model_name=tiny` gives them; an exported repository remembers them.

    Args:
        model: checks them and has the defaults; without one they are as they were given.

    Raises:
        DefinitionError: at the line of the call, where they do not fit the model.
    """
    if model is None:
        return Arguments(**_given)
    try:
        return model.model_validate(_given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        caller = sys._getframe(1)
        raise DefinitionError(
            f"template argument {name}: {problem['msg']}" if name else f"template arguments: {problem['msg']}",
            file=caller.f_code.co_filename,
            line=caller.f_lineno,
            hint=f"give it with --arg {name}=..." if problem["type"] == "missing" else None,
        ) from None
