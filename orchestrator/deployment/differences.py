"""What keeps one version from standing in for another, a line each."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from orchestrator.spec import (
    ApiSpec,
    ArgumentSpec,
    Methods,
    ModelSignature,
    NativeModelSpec,
    ServiceConfig,
    ServiceSpec,
    TensorSpec,
    ValueSpec,
)

__all__ = [
    "WITH_CODE",
    "interface_differences",
    "kept_settings",
    "method_differences",
    "model_differences",
    "signature_differences",
]

_WORDS: Final = frozenset({"doc", "default", "has_default_example", "opaque", "title", "description", "examples"})
"""Of an API's document or of a JSON Schema: what people read, or what the worker knows better."""
WITH_CODE: Final = frozenset({"workers", "threads", "resources", "envs", "labels", "description"})
"""Settings that a new version of a service brings along; the front-end keeps the others."""
_MISSING: Final = object()


def signature_differences(old: ModelSignature, new: ModelSignature) -> list[str]:
    """Such as "output `scores`: FP32[-1,10] became FP32[-1,12]"."""
    lines = [
        *_tensor_differences("input", old.inputs, new.inputs),
        *_tensor_differences("output", old.outputs, new.outputs),
    ]
    if old.batched != new.batched:
        lines.append("it has a batch axis now" if new.batched else "it has no batch axis any more")
    return lines


def _tensor_differences(what: str, old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[str]:
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    for name, tensor in before.items():
        if name not in after:
            yield f"{what} `{name}` is gone"
        elif after[name] != tensor:
            yield f"{what} `{name}`: {_text_of(tensor)} became {_text_of(after[name])}"
    yield from (f"{what} `{name}` is new" for name in after if name not in before)
    if before == after and list(before) != list(after):
        yield f"{what}s: {', '.join(before)} became {', '.join(after)}"


def _text_of(tensor: TensorSpec) -> str:
    return f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]" + (" (optional)" if tensor.optional else "")


def interface_differences(old: ServiceSpec, new: ServiceSpec) -> list[str]:
    """What callers, or the front-end that goes on in front of the service, would see; not how it is documented."""
    lines = [
        f"{what}: {before} became {after}"
        for what, before, after in (
            ("the name", old.name, new.name),
            ("placement", old.placement, new.placement),
            ("its Triton model", _way(old), _way(new)),
            ("largest batch", old.max_batch_size, new.max_batch_size),
        )
        if before != after
    ]
    return [*lines, *method_differences(old, new), *_model_list_differences(old.models, new.models)]


def method_differences(old: Methods, new: Methods) -> list[str]:
    """Between what two versions of a service can be asked, and how: what its callers rely on."""
    lines: list[str] = []
    for what in ("apis", "checks"):
        before, after = _by_name(getattr(old, what)), _by_name(getattr(new, what))
        for name in [*before, *(each for each in after if each not in before)]:
            lines += _api_differences(name, before.get(name), after.get(name))
        if before.keys() == after.keys() and list(before) != list(after):
            lines.append(f"{what}: {', '.join(before)} became {', '.join(after)}")
    return lines


def _way(spec: ServiceSpec) -> str:
    return "concurrent (async, streams or threads)" if spec.concurrent else "one call at a time"


def _by_name(apis: Sequence[ApiSpec]) -> dict[str, ApiSpec]:
    return {api.name: api for api in apis}


def _api_differences(name: str, old: ApiSpec | None, new: ApiSpec | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"`{name}` is {'new' if old is None else 'gone'}"
        return
    before, after = {each.name: each for each in old.arguments}, {each.name: each for each in new.arguments}
    for argument in [*before, *(each for each in after if each not in before)]:
        where = f"`{name}`, argument `{argument}`"
        if argument not in before or argument not in after:
            yield f"{where} is {'gone' if argument in before else 'new'}"
        else:
            yield from _value_differences(where, before[argument].value, after[argument].value)
            yield from _compare(where, _call_of(before[argument]), _call_of(after[argument]))
    if before.keys() == after.keys() and list(before) != list(after):
        yield f"`{name}`: arguments {', '.join(before)} became {', '.join(after)}"
    yield from _value_differences(f"`{name}`, result", old.result, new.result)
    yield from _compare(f"`{name}`", _manners(old), _manners(new))


def _value_differences(where: str, old: ValueSpec, new: ValueSpec) -> Iterator[str]:
    if old.kind is not new.kind:
        yield f"{where}: {old.kind} became {new.kind}"
    else:
        yield from _compare(where, old.model_dump(mode="json"), new.model_dump(mode="json"))


def _call_of(argument: ArgumentSpec) -> dict[str, Any]:
    return argument.model_dump(mode="json", include={"passing", "required"})


def _manners(api: ApiSpec) -> dict[str, Any]:
    plain = api.model_dump(mode="json", include={"route", "root", "stream", "batch"})
    return plain | {"context": api.context is not None}


def _compare(where: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(each for each in new if each not in old)]:
            if key not in _WORDS:
                yield from _compare(f"{where}, {key}", old.get(key, _MISSING), new.get(key, _MISSING))
    elif old != new:
        yield f"{where}: {_short(old)} became {_short(new)}"


def _short(value: Any) -> str:
    text = "nothing" if value is _MISSING else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _model_list_differences(old: Sequence[NativeModelSpec], new: Sequence[NativeModelSpec]) -> Iterator[str]:
    before, after = {each.attribute: each for each in old}, {each.attribute: each for each in new}
    for attribute, spec in before.items():
        if attribute not in after:
            yield f"model `{attribute}` is gone"
            continue
        other = after[attribute]
        if other.name != spec.name:
            yield f"model `{attribute}`: {spec.name} became {other.name}"
        if other.tag == spec.tag:  # else it is the store that has another one by now, and the code keeps this one
            yield from (f"model `{attribute}`, {line}" for line in model_differences(spec, other))
        if other.options != spec.options:
            yield f"model `{attribute}`: its options have changed"
        if spec.tag is None and other.files_digest != spec.files_digest:
            yield f"model `{attribute}`: its file has changed"
    yield from (f"model `{attribute}` is new" for attribute in after if attribute not in before)


def model_differences(old: NativeModelSpec, new: NativeModelSpec) -> list[str]:
    """Between two versions of a model: what its callers rely on."""
    lines = [f"format: {old.format} became {new.format}"] if old.format is not new.format else []
    return lines + signature_differences(old.signature, new.signature)


def kept_settings(old: ServiceConfig, new: ServiceConfig) -> list[str]:
    """Names of settings that differ, and that the front-end has from its start."""
    # Where a server listens is a flag of its start more often than of its code.
    new = new.model_copy(update={"http": new.http.model_copy(update={"host": old.http.host, "port": old.http.port})})
    fields = [name for name in ServiceConfig.model_fields if name not in WITH_CODE]
    return [name for name in fields if getattr(old, name) != getattr(new, name)]
