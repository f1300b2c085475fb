import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.sdk import Definition, read_service
from orchestrator.sdk.annotations import UnsupportedAnnotation, describe
from orchestrator.spec import ANY, ArgumentSpec, BatchPolicy, DType, ValueKind
from orchestrator.validators import DType as OfType
from orchestrator.validators import Shape
from tests.places import assert_placed


def read(cls: type) -> Definition:
    return read_service(cls, f"somewhere:{cls.__name__}")


def service_of(*methods: Callable[..., Any], **options: Any) -> type:
    """A service class of methods that are not marked yet."""
    body = {method.__name__: orchestrator.api(**options)(method) for method in methods}
    return orchestrator.service(type("Made", (), body))


def argument_of(method: Callable[..., Any], **options: Any) -> ArgumentSpec:
    """The only argument of a service's only method."""
    (argument,) = read(service_of(method, **options)).spec.apis[0].arguments
    return argument


class Plain(BaseModel):
    x: int


class Aliased(BaseModel):
    x: int = Field(validation_alias=AliasChoices("x", "ex"))


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    x: Annotated[str, Field(max_length=2)]


class ByName(BaseModel):
    model_config = ConfigDict(validate_by_name=True)
    x: int = Field(alias="ex")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, ValueKind.TEXT),
        (int, ValueKind.INTEGER),
        (float, ValueKind.NUMBER),
        (bool, ValueKind.BOOLEAN),
        (Annotated[int, Field(ge=0)], ValueKind.INTEGER),
        (Annotated[str, AfterValidator(str.title)], ValueKind.TEXT),
        (None, ValueKind.JSON),
        (Any, ValueKind.JSON),
        (int | None, ValueKind.JSON),
        (list[int], ValueKind.JSON),
        (dict[str, Any], ValueKind.JSON),
        (Literal["a", "b"], ValueKind.JSON),
        (Plain, ValueKind.JSON),
        (np.ndarray, ValueKind.ARRAY),
        (NDArray[np.int8], ValueKind.ARRAY),
        (Annotated[np.ndarray, Shape((2,))], ValueKind.ARRAY),
    ],
)
def test_an_annotation_has_one_kind(annotation: Any, kind: ValueKind) -> None:
    assert describe(annotation, "argument").kind is kind
    assert describe(annotation, "result").kind is kind


@pytest.mark.parametrize(
    ("annotation", "dtype", "shape"),
    [
        (np.ndarray, None, None),
        (NDArray[Any], None, None),
        (NDArray[np.floating[Any]], None, None),
        (NDArray[np.float32], DType.FP32, None),
        (np.ndarray[Any, np.dtype[np.uint8]], DType.UINT8, None),
        (NDArray[np.str_], DType.BYTES, None),
        (NDArray[np.object_], DType.BYTES, None),
        (Annotated[np.ndarray, OfType("float16")], DType.FP16, None),
        (Annotated[np.ndarray, OfType("str")], DType.BYTES, None),
        (Annotated[np.ndarray, OfType(np.bool_)], DType.BOOL, None),
        (Annotated[np.ndarray, Shape((-1, 4))], None, (ANY, 4)),
        (Annotated[np.ndarray, Shape(3)], None, (3,)),
        (Annotated[np.ndarray, Shape(())], None, ()),
        (Annotated[NDArray[np.int64], Shape((-1,)), OfType("int32")], DType.INT32, (ANY,)),
        (Annotated[Annotated[np.ndarray, Shape((1,))], OfType("int8")], DType.INT8, (1,)),
    ],
)
def test_an_array_has_the_dtype_and_shape_of_its_annotation(
    annotation: Any, dtype: DType | None, shape: tuple[int, ...] | None
) -> None:
    value = describe(annotation, "argument")
    assert (value.dtype, value.shape) == (dtype, shape)


def test_the_schema_of_an_array_is_nested_lists_of_its_shape() -> None:
    assert describe(Annotated[NDArray[np.int32], Shape((-1, 2))], "argument").json_schema == {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "format": "tensor",
        "dtype": "int32",
        "shape": [-1, 2],
    }


@pytest.mark.parametrize("wrong", [(-2,), ("a",), (1.5,), (True,)])
def test_a_shape_takes_lengths_or_minus_one(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Shape takes whole numbers"):
        Shape(wrong)


def test_a_dtype_takes_names_that_numpy_knows() -> None:
    with pytest.raises(ValueError, match="'float23'"):
        OfType("float23")


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, BeforeValidator(len)],
        Annotated[str, StringConstraints(strip_whitespace=True, max_length=2)],
        Annotated[str, Field(coerce_numbers_to_str=True)],
        complex,
        Aliased,
        Stripped,
        ByName,
        list[Aliased],
        dict[str, Stripped | None],
    ],
)
def test_a_type_that_may_take_more_than_its_schema_says_is_opaque_and_travels_as_json(annotation: Any) -> None:
    value = describe(annotation, "argument")
    assert (value.opaque, value.kind) == (True, ValueKind.JSON)
    assert not describe(annotation, "result").opaque


@pytest.mark.parametrize("annotation", [int, Plain, list[Plain], Annotated[int, AfterValidator(abs)], Any])
def test_a_type_that_its_schema_describes_is_checked_at_the_edge(annotation: Any) -> None:
    assert not describe(annotation, "argument").opaque


def test_a_list_whose_own_validator_runs_first_has_opaque_items() -> None:
    value = describe(Annotated[list[int], BeforeValidator(list)], "argument", rows=True)
    assert value.item is not None
    assert (value.item.opaque, value.item.kind) == (True, ValueKind.JSON)


@pytest.mark.parametrize("annotation", [Callable[[int], int], object(), type("Own", (), {}), NDArray[np.complex64]])
def test_a_type_that_cannot_cross_a_network_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match=r"has no (JSON form|tensor type)"):
        describe(annotation, "argument")


@pytest.mark.parametrize("annotation", [int, str, dict[str, int], Plain])
def test_a_batchable_api_takes_arrays_or_lists(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match="one row an item"):
        describe(annotation, "argument", rows=True)


def test_a_list_of_a_batchable_api_is_rows_of_its_items() -> None:
    value = describe(list[str], "argument", rows=True)
    assert value.kind is ValueKind.ROWS
    assert value.item == describe(str, "argument")
    bare = describe(list, "argument", rows=True)
    assert bare.item is not None
    assert bare.item.kind is ValueKind.JSON


def test_a_missing_annotation_is_anything() -> None:
    def run(self, x):  # type: ignore[no-untyped-def]
        return x

    assert argument_of(run).value.json_schema == {}


def test_a_default_makes_an_argument_optional_and_is_shown() -> None:
    def run(self: Any, x: tuple[int, int] = (1, 2)) -> None: ...

    argument = argument_of(run)
    assert (argument.required, argument.default, argument.has_default_example) == (False, [1, 2], True)


def test_none_is_a_default_like_others() -> None:
    def run(self: Any, x: int | None = None) -> None: ...

    argument = argument_of(run)
    assert (argument.required, argument.default, argument.has_default_example) == (False, None, True)


@pytest.mark.parametrize("default", [np.zeros(2), object(), float("inf"), [float("nan")], "\ud800"])
def test_a_default_without_a_json_form_is_not_shown(default: Any) -> None:
    def run(self: Any, x: Any = default) -> None: ...

    definition = read(service_of(run))
    (argument,) = definition.spec.apis[0].arguments
    assert (argument.required, argument.has_default_example) == (False, False)
    assert type(definition.spec).parse(definition.spec.document()) == definition.spec


def test_a_default_that_is_another_every_time_is_not_shown() -> None:
    def run(self: Any, x: str = Field(default_factory=lambda: str(object())), y: set[str] = {"a", "b"}) -> None: ...  # noqa: B006

    arguments = read(service_of(run)).spec.apis[0].arguments
    assert [(argument.required, argument.has_default_example) for argument in arguments] == [(False, False)] * 2


def test_infinity_in_a_models_default_does_not_break_the_document() -> None:
    class Wide(BaseModel):
        most: float = float("inf")

    def run(self: Any, x: Wide) -> None: ...

    spec = read(service_of(run)).spec
    assert type(spec).parse(spec.document()) == spec


def test_field_gives_default_limits_and_words() -> None:
    def run(self: Any, x: int = Field(3, ge=1, description="how many")) -> None: ...

    argument = argument_of(run)
    assert (argument.required, argument.default) == (False, 3)
    assert argument.value.kind is ValueKind.INTEGER
    assert argument.value.json_schema == {"type": "integer", "default": 3, "minimum": 1, "description": "how many"}


def test_field_without_a_default_is_required() -> None:
    def run(self: Any, x: int = Field(ge=1)) -> None: ...

    assert argument_of(run).required


def test_the_worker_fills_in_field_defaults_and_leaves_plain_ones_to_python() -> None:
    def run(self: Any, a: int = Field(3), b: list[int] = Field(default_factory=list), c: int = 4) -> None: ...  # noqa: B008

    binding = read(service_of(run)).apis["run"]
    first, second = binding.with_defaults({}), binding.with_defaults({"a": 9})
    assert first == {"a": 3, "b": []}
    assert second["a"] == 9
    assert first["b"] is not second["b"]


class Base:
    @orchestrator.api
    def one(self, x: int) -> int:
        return x

    @orchestrator.api
    def two(self) -> str:
        return "base"

    @orchestrator.api
    def three(self) -> str:
        return "base"


@orchestrator.service
class Heir(Base):
    """Of three."""

    @orchestrator.api(route="/deux")
    def two(self) -> str:
        """Better."""
        return "heir"

    def three(self) -> str:
        return "no API any more"

    @orchestrator.api
    def four(self) -> str:
        return "heir"


def test_apis_are_inherited_overridden_and_hidden_as_methods_are() -> None:
    definition = read(Heir)
    assert [(api.name, api.route, api.doc) for api in definition.spec.apis] == [
        ("one", "/one", None),
        ("two", "/deux", "Better."),
        ("four", "/four", None),
    ]
    assert definition.apis["two"].function(Heir()) == "heir"
    assert definition.spec.doc == "Of three."


def test_a_subclass_is_a_service_only_by_its_own_decorator() -> None:
    class Grandchild(Heir): ...

    with pytest.raises(DefinitionError, match=r"Grandchild is not a service .*@orchestrator.service"):
        read(Grandchild)


def test_a_decorated_method_keeps_its_signature() -> None:
    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @logged
    def run(self: Any, x: int) -> int:
        return x

    assert argument_of(run).value.kind is ValueKind.INTEGER


def test_the_name_of_an_api_is_the_name_that_calls_use() -> None:
    method = orchestrator.api(lambda self: "ran")
    definition = read(orchestrator.service(type("Made", (), {"one": method, "two": method})))
    assert [(api.name, api.route) for api in definition.spec.apis] == [("one", "/one"), ("two", "/two")]


def test_the_name_is_the_classes_unless_said() -> None:
    def run(self: Any) -> None: ...

    assert read(service_of(run)).spec.name == "Made"
    named = orchestrator.service(name="other")(type("Made", (), {"run": orchestrator.api(run)}))
    assert read(named).spec.name == "other"


def test_a_class_name_that_is_no_service_name_needs_another() -> None:
    cls = orchestrator.service(type("Größe", (), {"run": orchestrator.api(lambda self: None)}))
    with pytest.raises(DefinitionError, match=r"'Größe' cannot be .*@service\(name="):
        read(cls)


def test_an_unsupported_annotation_names_file_line_argument_and_way_out() -> None:
    @orchestrator.api
    def run(self: Any, x: Callable[[], int]) -> None: ...

    with pytest.raises(DefinitionError, match=r"Made.run: argument 'x': .* has no JSON form; use str, int") as caught:
        read(service_of(run))
    assert_placed(caught.value, "@orchestrator.api")


def test_an_annotation_that_cannot_be_resolved_names_file_and_line() -> None:
    def run(self: Any, x: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DefinitionError, match="'Missing' is not defined") as caught:
        read(service_of(run))
    assert_placed(caught.value, "def run")


def two_bodies(self: Any, x: int, /, y: int) -> None: ...


def reserved(self: Any, result: int) -> None: ...


def selfless() -> None: ...


def keyword_self(*, x: int) -> None: ...


def __hidden(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (two_bodies, "whole body, so it must be the only one .*remove the '/'"),
        (reserved, "cannot be called 'result'"),
        (selfless, "takes self"),
        (keyword_self, "takes self"),
        (__hidden, "two underscores"),
    ],
)
def test_a_method_that_calls_cannot_reach_is_refused(method: Callable[..., Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        read(service_of(method))
    assert caught.value.file == __file__
    assert caught.value.line == method.__code__.co_firstlineno


@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
def test_an_api_below_staticmethod_or_classmethod_is_refused(wrap: Callable[..., Any]) -> None:
    cls = orchestrator.service(type("Made", (), {"run": wrap(orchestrator.api(lambda self: None))}))
    with pytest.raises(DefinitionError, match="takes self"):
        read(cls)


def test_a_service_needs_an_api() -> None:
    @orchestrator.service
    class Empty:
        def run(self) -> None: ...

    with pytest.raises(DefinitionError, match="service Empty has no API") as caught:
        read(Empty)
    assert_placed(caught.value, "@orchestrator.service")


@pytest.mark.parametrize("route", ["/livez", "/readyz", "/healthz", "/metrics", "/docs", "/redoc", "/openapi.json"])
def test_the_servers_own_routes_are_reserved(route: str) -> None:
    def run(self: Any) -> None: ...

    with pytest.raises(DefinitionError, match="is the server's own"):
        read(service_of(run, route=route))


def test_two_apis_cannot_share_a_route() -> None:
    def one(self: Any) -> None: ...

    def two(self: Any) -> None: ...

    with pytest.raises(DefinitionError, match=r"Made.two: route /same is one's already"):
        read(service_of(one, two, route="/same"))


def test_a_batch_policy_has_the_options_in_our_units() -> None:
    def run(self: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x

    options: dict[str, Any] = {"batchable": True, "batch_dim": (1, 0), "max_batch_size": 7}
    assert read(service_of(run, **options, max_latency_ms=250)).spec.apis[0].batch == BatchPolicy(
        max_batch_size=7, max_latency_ms=250, queue_delay_us=1000, input_axis=1, output_axis=0
    )
    assert read(service_of(run)).spec.apis[0].batch is None


def test_the_queue_never_holds_a_call_longer_than_it_may_take() -> None:
    def run(self: Any, x: list[int]) -> list[int]:
        return x

    policy = read(service_of(run, batchable=True, max_latency_ms=0.1)).spec.apis[0].batch
    assert policy is not None
    assert policy.queue_delay_us == 100


def no_rows(self: Any) -> list[int]:
    return []


def wrong_axis(self: Any, x: Annotated[np.ndarray, Shape((4, -1))]) -> np.ndarray:  # type: ignore[type-arg]
    return x


def too_flat(self: Any, x: np.ndarray) -> Annotated[np.ndarray, Shape(())]:  # type: ignore[type-arg]
    return x


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (no_rows, "needs an argument with rows"),
        (wrong_axis, r"argument 'x' has shape \(4, -1\), whose batch axis 0 .*Shape\(\(-1, 4\)\)"),
        (too_flat, r"its result has shape \(\), whose batch axis 0"),
    ],
)
def test_a_batch_axis_must_be_there_and_of_any_length(method: Callable[..., Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        read(service_of(method, batchable=True))
    assert Path(str(caught.value.file)).name == "test_reader.py"


def test_lists_have_their_rows_on_axis_zero() -> None:
    def run(self: Any, x: list[int]) -> np.ndarray:  # type: ignore[type-arg]
        return np.array(x)

    read(service_of(run, batchable=True, batch_dim=(0, 1)))
    with pytest.raises(DefinitionError, match="argument 'x' has its rows one below the other, so batch_dim must be 0"):
        read(service_of(run, batchable=True, batch_dim=1))
