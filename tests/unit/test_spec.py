import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.spec import (
    ANY,
    ApiSpec,
    ArgumentSpec,
    BatchPolicy,
    DType,
    Resources,
    ServiceSpec,
    TensorSpec,
    Traffic,
    ValueKind,
    ValueSpec,
)

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.lists(st.integers(ANY, 5), max_size=4).map(tuple)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
SCHEMAS = st.dictionaries(TEXT, JSON, max_size=3)
SIMPLE_VALUES = st.builds(
    ValueSpec,
    kind=st.sampled_from(ValueKind),
    json_schema=SCHEMAS,
    dtype=st.none() | st.sampled_from(DType),
    shape=st.none() | SHAPES,
    opaque=st.booleans(),
    item=st.none(),
)
VALUES = SIMPLE_VALUES | st.builds(ValueSpec, kind=st.just(ValueKind.ROWS), json_schema=SCHEMAS, item=SIMPLE_VALUES)
POLICIES = st.builds(
    BatchPolicy,
    max_batch_size=st.integers(1, 1000),
    max_latency_ms=st.floats(0.1, 1e6),
    queue_delay_us=st.integers(0, 10**6),
    input_axis=st.integers(0, 3),
    output_axis=st.integers(0, 3),
)
ARGUMENTS = st.builds(ArgumentSpec, name=NAMES, value=VALUES, required=st.booleans(), default=JSON)
APIS = st.builds(
    ApiSpec,
    name=NAMES,
    route=TEXT,
    doc=st.none() | TEXT,
    arguments=st.lists(ARGUMENTS, max_size=3).map(tuple),
    result=VALUES,
    batch=st.none() | POLICIES,
)
SERVICES = st.builds(
    ServiceSpec,
    name=NAMES,
    target=TEXT,
    doc=st.none() | TEXT,
    apis=st.lists(APIS, min_size=1, max_size=3).map(tuple),
    workers=st.integers(1, 64),
    resources=st.builds(
        Resources,
        cpu=st.none() | st.floats(0, 1e6),
        gpu=st.floats(0, 1) | st.integers(2, 64),
        gpu_type=st.none() | TEXT,
    ),
    traffic=st.builds(Traffic, timeout_s=st.floats(1e-9, 1e9), max_concurrency=st.none() | st.integers(1, 2**60)),
)

NUMBER = ValueSpec(kind=ValueKind.NUMBER, json_schema={"type": "number"})
SMALL = ServiceSpec(name="Small", target="small:Small", apis=(ApiSpec(name="run", route="/run", result=NUMBER),))


@given(SERVICES)
@settings(max_examples=100)
def test_a_service_survives_its_document(service: ServiceSpec) -> None:
    again = ServiceSpec.parse(service.document())
    assert again == service
    assert again.document() == service.document()
    assert again.digest() == service.digest()


def test_the_document_is_the_same_for_ever() -> None:
    # A change of these bytes means that exported services do not fit any more: that needs a decision.
    assert SMALL.document().decode() == (
        '{\n  "name": "Small",\n  "target": "small:Small",\n  "apis": [\n    {\n      "name": "run",\n'
        '      "route": "/run",\n      "result": {\n        "kind": "number",\n        "json_schema": {\n'
        '          "type": "number"\n        }\n      }\n    }\n  ]\n}\n'
    )
    assert SMALL.digest() == hashlib.sha256(SMALL.document()).hexdigest()


def test_another_content_has_another_digest() -> None:
    assert SMALL.model_copy(update={"workers": 2}).digest() != SMALL.digest()


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SMALL.name = "Other"  # type: ignore[misc]


def test_an_unknown_key_in_a_document_is_refused() -> None:
    with pytest.raises(ValidationError, match="wokers"):
        ServiceSpec.parse(SMALL.document().replace(b'"target"', b'"wokers": 3, "target"'))


def test_a_service_needs_an_api() -> None:
    with pytest.raises(ValidationError, match="apis"):
        ServiceSpec(name="Empty", target="m:Empty", apis=())


def test_apis_are_found_by_name_only() -> None:
    assert SMALL.api("run") is SMALL.apis[0]
    with pytest.raises(KeyError):
        SMALL.api("/run")


def test_the_batch_axis_is_as_long_as_the_largest_api_wants() -> None:
    def api(name: str, size: int | None) -> ApiSpec:
        batch = None if size is None else BatchPolicy(max_batch_size=size, max_latency_ms=1, queue_delay_us=1)
        return ApiSpec(name=name, route=f"/{name}", result=NUMBER, batch=batch)

    assert SMALL.max_batch_size == 0
    assert SMALL.model_copy(update={"apis": (api("a", 4), api("b", None), api("c", 32))}).max_batch_size == 32


@pytest.mark.parametrize("dtype", list(DType))
def test_every_dtype_has_a_numpy_type_and_a_name_in_config(dtype: DType) -> None:
    assert DType.of(np.dtype(dtype.numpy).name) is dtype
    assert dtype.config == ("TYPE_STRING" if dtype is DType.BYTES else f"TYPE_{dtype}")


@pytest.mark.parametrize("name", ["complex64", "datetime64", "float128"])
def test_a_numpy_type_that_triton_has_not_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        DType.of(name)


def test_tensors_compare_by_content() -> None:
    assert TensorSpec(name="x", dtype=DType.FP32, shape=(ANY, 4)) == TensorSpec(
        name="x", dtype=DType.FP32, shape=(-1, 4)
    )
