"""`module:Class` -> `Definition`, with one clear sentence for whatever goes wrong in between."""

import dataclasses
import difflib
import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydantic_core import to_jsonable_python

from orchestrator.errors import DefinitionError
from orchestrator.sdk.alias import ALIAS, install_bentoml
from orchestrator.sdk.decorators import service_options_of
from orchestrator.sdk.definition import Definition
from orchestrator.sdk.graph import read_service
from orchestrator.sdk.template import set_arguments
from orchestrator.spec import DependencySpec, Layer, NativeModelSpec

__all__ = ["load_service"]

_MODEL_TARGET: Final = "model:"
_MODEL_SERVICES: Final = "orchestrator.models.serving"
"""Named and not imported: it stands above this layer, and services of classes do without it."""
_ALIAS_HINT: Final = "with --bentoml, `import bentoml` is this product's own"


def load_service(
    target: str,
    working_dir: Path,
    overrides: Sequence[Layer] | None = None,
    *,
    bentoml: bool = False,
    arguments: Mapping[str, Any] | None = None,
    models: Sequence[NativeModelSpec] | None = None,
    dependencies: Sequence[DependencySpec] | None = None,
) -> Definition:
    """Imports the user's module and reads the class.

    Args:
        target: `module:Class`, or `module` where the module has one service; or `model:NAME:VERSION`, a stored model.
        working_dir: folder that the module is imported from; it is put first on `sys.path` and stays there, because
            the user's code may import its neighbours at any time.
        overrides: what others than `@service` say about how it is run, the weakest first; None where the caller goes by
            another configuration than the definition's, such as a worker by the exported one.
        bentoml: the module's `import bentoml` means `orchestrator.bentoml`; stays so in this process.
        arguments: what `use_arguments` gives to the module; values that JSON knows.
        models: what the class's models were resolved to before; None to resolve them here.
        dependencies: what is known of the services that it calls; None to read them as well.

    Raises:
        DefinitionError: the folder, the module or the class is not there, the module fails on import, or the class
            cannot be served.
        SettingsError: the overrides contradict each other, or what `@service` says.
    """
    if target.startswith(_MODEL_TARGET):
        model_services = importlib.import_module(_MODEL_SERVICES)
        cls = model_services.service_class(target.removeprefix(_MODEL_TARGET), models)
        return read_service(cls, target, overrides, models=models)
    module_name, colon, class_name = target.partition(":")
    if not module_name or (colon and not class_name):
        raise DefinitionError(f"{target!r} does not name a service", hint="write module:Class, such as service:Iris")
    if module_name.endswith(".py"):
        module_name = module_name.removesuffix(".py").replace("/", ".")
    if not working_dir.is_dir():
        raise DefinitionError(f"the working directory {working_dir} does not exist")
    folder = str(working_dir.resolve())
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    if bentoml:
        install_bentoml()
    # As the workers will have them: they read them from the exported spec.
    template = to_jsonable_python(dict(arguments or {}))
    set_arguments(template)
    module = _import(module_name, folder)
    class_name, cls = _class_in(module, class_name, module_name)
    definition = read_service(cls, f"{module_name}:{class_name}", overrides, models=models, dependencies=dependencies)
    update = {"bentoml": bentoml, "template": template}
    *others, own = (dataclasses.replace(each, spec=each.spec.model_copy(update=update)) for each in definition.graph)
    return dataclasses.replace(own, others=tuple(others))


def _import(name: str, folder: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            near = difflib.get_close_matches(name, [path.stem for path in Path(folder).glob("*.py")], 1)
            hint = f"did you mean {near[0]!r}?" if near else "--working-dir names the folder of the module"
            raise DefinitionError(f"no module {name!r} in {folder}", hint=hint) from error
        hint = _ALIAS_HINT if error.name == ALIAS else f"pip install the package that has {error.name!r}"
        raise _import_failed(name, folder, error, hint) from error
    except SyntaxError as error:
        raise DefinitionError(f"syntax error: {error.msg}", file=error.filename, line=error.lineno) from error
    except Exception as error:  # the user's module may raise anything
        raise _import_failed(name, folder, error, None) from error


def _import_failed(name: str, folder: str, error: Exception, hint: str | None) -> DefinitionError:
    """The error at the deepest line of the user's own code."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(folder) and "/site-packages/" not in frame.filename
    ]
    last = frames[-1] if frames else None
    text = f"importing {name!r} failed: {type(error).__name__}: {error}"
    return DefinitionError(text, file=last.filename if last else None, line=last.lineno if last else None, hint=hint)


def _class_in(module: ModuleType, name: str, module_name: str) -> tuple[str, type]:
    """The class and the name that the module has for it."""
    services = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value) and service_options_of(value) is not None
    }
    if not name:
        own = {key: value for key, value in services.items() if value.__module__ == module.__name__}
        if len(own) == 1:
            return next(iter(own.items()))
        listed = ", ".join(f"{module_name}:{key}" for key in own)
        raise DefinitionError(
            f"{module_name!r} has {len(own)} services",
            hint=f"name one: {listed}" if own else "put @service above a class",
        )
    found = getattr(module, name, None)
    if found is None:
        near = difflib.get_close_matches(name, list(services) or list(vars(module)), 1)
        listed = ", ".join(services) or "none"
        hint = f"did you mean {module_name}:{near[0]}?" if near else f"its services: {listed}"
        raise DefinitionError(f"module {module_name!r} has no class {name!r}", file=module.__file__, hint=hint)
    if not inspect.isclass(found):
        way_out = _ALIAS_HINT if type(found).__module__.startswith((ALIAS, f"_{ALIAS}")) else None
        raise DefinitionError(f"{module_name}:{name} is not a class", file=module.__file__, hint=way_out)
    return name, found
