"""What several sources say about a service, read key by key and merged.

The later source wins, and every value knows its own. Pure: who reads files, the environment and the command line is
`settings.py` and `cli/overrides.py`.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Final, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.errors import SettingsError
from orchestrator.spec.config import WITHOUT_EFFECT, EnvVar, ServiceConfig, Takes, environment_of
from orchestrator.spec.frozen import Frozen

__all__ = ["Configuration", "Layer", "Setting", "environment_in", "merge", "read_assignment", "read_layer"]

Path = tuple[str, ...]
_SCOPE: Final = "services"
_EVERY_SERVICE: Final = "defaults"
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says.

    Attributes:
        source: as a person knows it: `@service`, `orchestrator.yaml`, `ORCHESTRATOR_OPTIONS`, `--set`.
        values: key -> checked value in its stored form.
        service: the one that it is about; None for every one.
        without_effect: keys that BentoML knows and nothing here looks at -> what was said.
    """

    source: str
    values: Mapping[Path, Any] = field(default_factory=dict)
    service: str | None = None
    without_effect: Mapping[Path, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key, for a person.

    Attributes:
        key: dotted path.
        value: as JSON has it; secrets are hidden.
        source: where it comes from; None for the default.
        without_effect: why it changes nothing, where it does not.
        kept: it is in the spec, for others to read; False for what is dropped.
    """

    key: str
    value: Any
    source: str | None
    without_effect: str | None
    kept: bool = True


@dataclass(frozen=True, slots=True)
class Configuration:
    """A merged configuration, and where each of its values comes from.

    Attributes:
        config: the values.
        sources: key -> name of the source that won; keys that nobody gave are missing.
        ignored: keys without a field, which change nothing -> value and source.
    """

    config: ServiceConfig
    sources: Mapping[Path, str] = field(default_factory=dict)
    ignored: Mapping[Path, tuple[Any, str]] = field(default_factory=dict)

    def settings(self) -> Iterator[Setting]:
        """Every key, in the order of `ServiceConfig`; then the ignored ones that were given."""
        for path, key in _keys().items():
            value: Any = self.config
            for name in key.fields:
                value = getattr(value, name)
            if key.takes.entries and value:
                entries = value.items() if isinstance(value, Mapping) else [(each.name, each.value) for each in value]
                for name, content in entries:
                    shown = _HIDDEN if key.takes.secret and content is not None else content
                    yield Setting(_dotted((*path, name)), shown, self.sources.get((*path, name)), _reason(path))
                continue
            shown = _HIDDEN if key.takes.secret and value else value
            shown = list(shown) if isinstance(shown, tuple) else shown
            yield Setting(_dotted(path), shown, self.sources.get(path), _reason(path))
        for path, (value, source) in self.ignored.items():
            yield Setting(_dotted(path), value, source, _reason(path), kept=False)


def read_layer(
    given: Mapping[str, Any],
    source: str,
    *,
    service: str | None = None,
    text: bool = False,
    also_known: Iterable[str] = (),
) -> Layer:
    """Checks what a source says.

    Args:
        given: nested, as in `@service(...)` or a config file; sections are mappings.
        source: its name, for errors and for `Setting.source`.
        service: the one that it is about; None for every one.
        text: values are text, as a variable or a flag has them.
        also_known: first words that the source takes itself, for the hint at an unknown key.

    Raises:
        SettingsError: one sentence with the source, the key and the nearest known key.
    """
    reader = _Reader(source, text=text, also_known=tuple(also_known))
    reader.read((), given)
    return Layer(source, reader.values, service, reader.without_effect)


def read_assignment(assignment: str, source: str) -> Layer:
    """Reads `traffic.timeout=10`, or `services.Iris.traffic.timeout=10` for one service alone.

    The value is JSON where that fits the key, and text otherwise.

    Raises:
        SettingsError: as `read_layer`.
    """
    name, equals, value = assignment.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        raise SettingsError(f"{source}: {assignment!r} is not key=value", hint="write it as traffic.timeout=10")
    service = None
    if path[0] == _SCOPE and len(path) > 2:
        service = None if path[1] == _EVERY_SERVICE else path[1]
        path = path[2:]
    open_ended = next((i for i in range(1, len(path)) if (key := _keys().get(path[:i])) and key.takes.entries), None)
    if open_ended is not None:  # the name of a label may have dots
        path = (*path[:open_ended], ".".join(path[open_ended:]))
    nested: Any = value.strip()
    for word in reversed(path):
        nested = {word: nested}
    return read_layer(nested, source, service=service, text=True)


def environment_in(service: str, layers: Iterable[Layer]) -> dict[str, str]:
    """The variables that layers set for one service, before anything else about it is known."""
    variables = {
        path: value
        for layer in layers
        if layer.service in (None, service)
        for path, value in layer.values.items()
        if path[0] == "envs"
    }
    return environment_of(variables.values())


def merge(service: str, layers: Sequence[Layer]) -> Configuration:
    """What holds for one service.

    Args:
        service: its name; layers about other services are left out.
        layers: the weakest first.

    Raises:
        SettingsError: values that are right alone contradict each other; the sources of all of them are named.
    """
    values: dict[Path, Any] = {}
    sources: dict[Path, str] = {}
    ignored: dict[Path, tuple[Any, str]] = {}
    for layer in layers:
        if layer.service not in (None, service):
            continue
        for path, value in layer.values.items():
            values[path] = value
            sources[path] = layer.source
        for path, value in layer.without_effect.items():
            ignored[path] = (value, layer.source)
    nested: dict[str, Any] = {}
    for path, key in _keys().items():
        if key.takes.entries:
            entries = {each[len(path)]: value for each, value in values.items() if each[: len(path)] == path}
            if entries:
                _put(nested, key.fields, tuple(entries.values()) if key.item is EnvVar else entries)
        elif path in values:
            _put(nested, key.fields, values[path])
    try:
        config = ServiceConfig.model_validate(nested)
    except ValidationError as error:
        raise _contradiction(error, sources) from None
    return Configuration(config, sources, ignored)


@dataclass(frozen=True, slots=True)
class _Key:
    """One leaf of `ServiceConfig`.

    Attributes:
        fields: names of the fields from the root to it.
        adapter: checks the stored form of the value, or of one entry.
        item: type of one entry, where the value is entries by name.
        kinds: plain types among those that the value may have.
    """

    fields: Path
    takes: Takes
    adapter: TypeAdapter[Any]
    item: Any
    kinds: frozenset[Any]


@cache
def _keys() -> Mapping[Path, _Key]:
    """Every key, in declared order."""
    return dict(_keys_of(ServiceConfig, (), ()))


def _keys_of(model: type[Frozen], path: Path, fields: Path) -> Iterator[tuple[Path, _Key]]:
    for name, info in model.model_fields.items():
        takes = next((each for each in info.metadata if isinstance(each, Takes)), None)
        if takes is None:
            assert isinstance(info.annotation, type)
            assert issubclass(info.annotation, Frozen)
            yield from _keys_of(info.annotation, (*path, name), (*fields, name))
            continue
        annotation: Any = info.annotation
        item = next((each for each in reversed(get_args(annotation)) if each is not Ellipsis), None)
        if takes.entries:
            item = EnvVar if EnvVar in get_args(annotation) else item
            adapter = _adapter(item)
        else:
            adapter = _adapter(_annotated(info))
        kinds = frozenset(get_args(annotation) or (annotation,))
        yield (*path, takes.key or name), _Key((*fields, name), takes, adapter, item, kinds)


def _annotated(info: FieldInfo) -> Any:
    return Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        return TypeAdapter(annotation)
    return TypeAdapter(annotation, config=ConfigDict(coerce_numbers_to_str=True))


class _Reader:
    """One source, key by key."""

    def __init__(self, source: str, *, text: bool, also_known: Path) -> None:
        self._source = source
        self._text = text
        self._also_known = also_known
        self.values: dict[Path, Any] = {}
        self.without_effect: dict[Path, Any] = {}

    def read(self, path: Path, given: Any) -> None:
        if path and (key := _keys().get(path)):
            self._read_key(path, key, given)
        elif path not in _sections():
            if not _reason(path):
                raise self._unknown(path, given)
            self.without_effect[path] = given
        elif isinstance(given, Mapping):
            for word, content in given.items():
                self.read((*path, str(word)), content)
        elif given is not None:  # an empty section of a file
            words = ", ".join(_known_below(path))
            raise SettingsError(f"{self._source}: {_dotted(path)}={given!r}: is a section with the keys {words}")

    def _read_key(self, path: Path, key: _Key, given: Any) -> None:
        if given is None and type(None) not in key.kinds:
            return  # BentoML's files write `~` for "as it is"
        for position, candidate in enumerate(candidates := self._candidates(key, given)):
            try:
                if key.takes.entries:
                    for name, content in key.takes.entries(candidate).items():
                        self.values[*path, name] = key.adapter.validate_python(content)
                else:
                    self.values[path] = _checked(key, candidate)
                return
            except (ValueError, TypeError, KeyError):  # ValidationError is a ValueError
                if position + 1 == len(candidates):
                    break
        shown = "" if key.takes.secret else f"={given!r}"
        raise SettingsError(f"{self._source}: {_dotted(path)}{shown}: takes {key.takes.words}")

    def _candidates(self, key: _Key, given: Any) -> list[Any]:
        """The forms to try, the likeliest first."""
        if not (self._text and isinstance(given, str)):
            return [given]
        try:
            parsed = json.loads(given)
        except ValueError:
            return [given]
        if parsed is None and type(None) in key.kinds:
            return [None]
        return [given, parsed] if str in key.kinds and not isinstance(parsed, (list, dict)) else [parsed, given]

    def _unknown(self, path: Path, given: Any) -> SettingsError:
        while isinstance(given, Mapping) and given:
            word, given = next(iter(given.items()))
            path = (*path, str(word))
        near = _nearest(path, self._also_known)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join((*self._also_known, *_known_below(())))}"
        return SettingsError(f"{self._source}: unknown key {_dotted(path)!r}", hint=hint)


def _checked(key: _Key, value: Any) -> Any:
    if isinstance(value, bool) and bool not in key.kinds:
        raise TypeError  # an int, to Python and pydantic
    if key.takes.read and value is not None:
        value = key.takes.read(value)
    return key.adapter.validate_python(value)


@cache
def _sections() -> frozenset[Path]:
    return frozenset(path[:length] for path in _keys() for length in range(len(path)))


def _known_below(section: Path) -> list[str]:
    """What may follow, in declared order."""
    depth = len(section)
    return list(dict.fromkeys(_dotted(path[: depth + 1]) for path in _keys() if path[:depth] == section))


def _nearest(path: Path, also_known: Path) -> str | None:
    known = [_dotted(each) for each in _keys()]
    sections = [_dotted(each) for each in _sections() if each]
    close = difflib.get_close_matches(_dotted(path), [*known, *also_known, *WITHOUT_EFFECT], 1, 0.75)
    if close:
        return close[0]
    elsewhere = [key for key in known if key.rpartition(".")[2] == path[-1]]
    if len(elsewhere) == 1:
        return elsewhere[0]
    loose = difflib.get_close_matches(_dotted(path), [*known, *sections, *also_known, *WITHOUT_EFFECT], 1)
    return loose[0] if loose else None


def _reason(path: Path) -> str | None:
    """Why a key changes nothing, or None where it does."""
    keys = (_dotted(path[:length]) for length in range(len(path), 0, -1))
    return next((WITHOUT_EFFECT[key] for key in keys if key in WITHOUT_EFFECT), None)


def _put(nested: dict[str, Any], fields: Path, value: Any) -> None:
    for name in fields[:-1]:
        nested = nested.setdefault(name, {})
    nested[fields[-1]] = value


def _contradiction(error: ValidationError, sources: Mapping[Path, str]) -> SettingsError:
    (first, *_) = error.errors(include_url=False)
    section = tuple(str(part) for part in first["loc"])
    said = {path: source for path, source in sources.items() if path[: len(section)] == section}
    reason = str(first.get("ctx", {}).get("error", first["msg"]))
    names = ", ".join(dict.fromkeys(said.values()))
    keys = ", ".join(_dotted(path) for path in said)
    return SettingsError(f"{names}: {_dotted(section)}: {reason}", hint=f"given are {keys}")


def _dotted(path: Path) -> str:
    return ".".join(path)
