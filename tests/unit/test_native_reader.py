"""Models of a class, as the reader sees them: what they are in the spec, and every wrong one with file and line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.models import Onnx, Python, TensorRT, TorchScript
from orchestrator.sdk import load_service, read_service
from orchestrator.sdk.class_models import stored_models
from orchestrator.sdk.pins import pinned, set_pins
from orchestrator.spec import (
    Accelerator,
    DType,
    ModelFormat,
    Placement,
    ServiceSpec,
    StoredModelRef,
    TensorSpec,
)
from orchestrator.worker.instance import load_definition
from tests import onnx_models
from tests.composed import place_composed
from tests.places import assert_placed


@contextmanager
def placed_composed(folder: Path) -> Iterator[str]:
    """The target of a service in a folder; its module is forgotten afterwards."""
    place_composed(folder)
    path = sys.path.copy()
    try:
        yield "composed:Composed"
    finally:
        sys.path[:] = path
        sys.modules.pop("composed", None)


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return onnx_models.linear(tmp_path / "linear.onnx")


class Calls:
    """An async API, so that the class below is a service."""

    @orchestrator.api
    async def call(self) -> int:
        return 1


def read(cls: type, **more: Any) -> ServiceSpec:
    # A class of its own each time: one cannot be marked twice.
    service = orchestrator.service(**more)(type(cls.__name__, (cls,), {"__module__": __name__}))
    return read_service(service, f"here:{cls.__name__}").spec


def test_a_model_is_in_the_spec_with_all_that_its_file_and_its_options_say(linear: Path) -> None:
    class Reader(Calls):
        detector = Onnx(
            linear, max_batch_size=8, queue_delay_us=50, instances=2, threads=3, warmup=False, response_cache=True,
            gpus=[0, 1], accelerator="tensorrt",
        )  # fmt: skip
        second = Onnx(str(linear), name="words")

    definition = read_service(orchestrator.service(Reader), "here:Reader")
    first, second = definition.spec.models
    assert (first.attribute, first.name, first.version, first.tag) == ("detector", "Reader.detector", 1, None)
    assert (first.format, first.file, first.requested) == (ModelFormat.ONNX, "model.onnx", None)
    assert first.signature.inputs == (TensorSpec(name="x", dtype=DType.FP32, shape=(-1, 4)),)
    assert first.signature.batched
    assert first.options.model_dump() == {
        "max_batch_size": 8, "queue_delay_us": 50, "instances": 2, "gpus": (0, 1), "threads": 3, "warmup": False,
        "response_cache": True, "accelerator": Accelerator.TENSORRT,
    }  # fmt: skip
    assert (second.attribute, second.name, second.max_batch_size) == ("second", "words", 64)
    assert definition.models["words"].files == {"model.onnx": linear.resolve()}
    assert ServiceSpec.parse(definition.spec.document()) == definition.spec


def test_a_path_is_beside_its_module_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(Calls):
        model = Onnx("only_here/linear.onnx")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DefinitionError, match=r"Elsewhere\.model: there is no only_here/linear\.onnx beside this file"
    ) as caught:
        read(Elsewhere)
    assert_placed(caught.value, 'Onnx("only_here')
    (tmp_path / "only_here").mkdir()
    onnx_models.linear(tmp_path / "only_here" / "linear.onnx")
    assert read(Elsewhere).models[0].name == "Elsewhere.model"
    monkeypatch.chdir("/")
    with placed_composed(tmp_path) as target:
        assert len(load_service(target, tmp_path).spec.models) == 5


def test_models_of_base_classes_belong_to_the_service(linear: Path) -> None:
    class Base(Calls):
        model = Onnx(linear)

    class Derived(Base):
        pass

    assert [model.name for model in read(Derived).models] == ["Derived.model"]
    assert [model.name for model in read(Base, name="Other").models] == ["Other.model"]


def test_axes_that_the_file_has_fixed_are_made_free_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    fixed = onnx_models.linear(tmp_path / "fixed.onnx", axes=(1, 4), output=(1, 3))

    class Freed(Calls):
        fixed_as_it_is = Onnx(fixed)
        model = Onnx(fixed, dynamic_axes={"x": [0]})

    as_it_is, model = read(Freed).models
    assert not as_it_is.signature.batched
    assert model.signature.batched
    made = list((tmp_path / "home").rglob("model.onnx"))
    assert Freed().model(np.zeros((5, 4))).shape == (5, 3)
    assert read(Freed).models[1] == model
    assert list((tmp_path / "home").rglob("model.onnx")) == made
    assert len(made) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_batch_size": -1}, "max_batch_size=-1: Input should be greater than or equal to 0"),
        ({"queue_delay_us": "soon"}, "queue_delay_us='soon': Input should be a valid integer"),
        ({"instances": 0}, "instances=0: Input should be greater than or equal to 1"),
        ({"threads": 0}, "threads=0: Input should be greater than or equal to 1"),
        ({"gpus": [-1]}, r"gpus=\[-1\]: Input should be greater than or equal to 0"),
        ({"gpus": "all"}, "gpus='all': Input should be a valid tuple"),
        ({"accelerator": "magic"}, "accelerator='magic': Input should be 'tensorrt' or 'openvino'"),
        ({"name": "a/b"}, "name='a/b' cannot be the name of a Triton model"),
        ({"name": 7}, "name=7 cannot be the name of a Triton model"),
        ({"inputs": ["x FP32"]}, "'x FP32' is not a tensor"),
        ({"batched": "yes"}, "batched='yes': takes True, False or None"),
        ({"dynamic_axes": [0]}, r"dynamic_axes=\[0\]: takes axes by tensor"),
    ],
)
def test_a_wrong_option_is_told_at_its_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=f"{words}") as caught:
        Onnx("linear.onnx", **options)
    assert_placed(caught.value, 'Onnx("linear.onnx", **options)')


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (7, "int is no model"),
        (None, "NoneType is no model"),
        ("two words", r"'two words': letters, digits"),
        ("text_det:", "no version after the colon"),
    ],
)
def test_a_source_that_is_neither_path_nor_tag_is_told_at_its_line(source: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words) as caught:
        TensorRT(source)
    assert_placed(caught.value, "TensorRT(source)")


def test_what_a_file_does_not_say_is_told_at_the_users_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    script = tmp_path / "model.pt"
    script.write_bytes(b"nothing")

    class Broken(Calls):
        model = Onnx(broken)

    class Silent(Calls):
        model = TorchScript(script)

    class Code(Calls):
        model = Python(tmp_path / "nowhere.py")

    for cls, words, line in [
        (Broken, rf"Broken\.model: {broken}: this is not an ONNX", "Onnx(broken)"),
        (
            Silent,
            rf"Silent\.model: {script}: a TorchScript file does not say what .*give inputs= and outputs=",
            "TorchScript(script)",
        ),
        (Code, r"Code\.model: .*nowhere\.py: there is no such model file", "Python(tmp_path"),
    ]:
        with pytest.raises(DefinitionError, match=words) as caught:
            read(cls)
        assert_placed(caught.value, line)


def test_a_batch_size_for_a_model_that_does_not_batch(tmp_path: Path) -> None:
    fixed = onnx_models.linear(tmp_path / "fixed.onnx", axes=(1, 4), output=(1, 3))

    class Fixed(Calls):
        model = Onnx(fixed, max_batch_size=8)

    with pytest.raises(
        DefinitionError, match=r"max_batch_size=8, and the model has no batch axis .* batched=True"
    ) as caught:
        read(Fixed)
    assert_placed(caught.value, "Onnx(fixed, max")


def test_two_different_models_of_one_name(linear: Path) -> None:
    class Twice(Calls):
        one = Onnx(linear, name="shared")
        same = Onnx(linear, name="shared")
        two = Onnx(linear, name="shared", instances=2)

    words = r"'one' and 'two' are both the model 'shared', and differ .*name="
    with pytest.raises(DefinitionError, match=words) as caught:
        read(Twice)
    assert_placed(caught.value, "instances=2")


def test_one_model_under_two_attributes(linear: Path) -> None:
    shared = Onnx(linear)

    class Both(Calls):
        one = shared
        two = shared

    with pytest.raises(DefinitionError, match="one model is both 'one' and 'two': make one for each") as caught:
        read(Both)
    assert_placed(caught.value, "shared = Onnx(linear)")


@pytest.mark.parametrize(("name", "whose"), [("Clash", "the service itself"), ("Clash.call", "the API 'call'")])
def test_a_model_with_the_name_of_the_service_or_of_an_api(linear: Path, name: str, whose: str) -> None:
    class Clash(Calls):
        model = Onnx(linear, name=name)

    with pytest.raises(DefinitionError, match=f"the model '{name}' has the name of {whose}") as caught:
        read(Clash)
    assert_placed(caught.value, "Onnx(linear, name=name)")


def test_a_service_that_is_a_process_of_its_own_has_no_models(linear: Path) -> None:
    class Command:
        model = Onnx(linear)

    with pytest.raises(DefinitionError, match="has cmd, so it cannot have the model 'model'"):
        read(Command, cmd=["true"])
    with pytest.raises(DefinitionError, match="has cmd, so it cannot have placement='triton'"):
        read(type("Empty", (), {"__module__": __name__}), cmd=["true"], placement="triton")


class Sync:
    @orchestrator.api
    def call(self) -> int:
        return 1


class Stream:
    @orchestrator.api
    async def call(self) -> int:
        return 1

    @orchestrator.api
    def numbers(self) -> Any:
        yield 1


@pytest.mark.parametrize(
    ("base", "options", "placement"),
    [
        (Calls, {}, Placement.FRONTEND),
        (Sync, {}, Placement.TRITON),
        (Stream, {}, Placement.TRITON),
        (Calls, {"resources": {"gpu": 1}}, Placement.TRITON),
        (Calls, {"placement": "triton"}, Placement.TRITON),
        (Sync, {"placement": "frontend"}, Placement.FRONTEND),
    ],
)
def test_async_code_that_calls_models_is_placed_on_the_frontend(
    linear: Path, base: type, options: dict[str, Any], placement: Placement
) -> None:
    assert read(type("Placed", (base,), {"model": Onnx(linear)}), **options).placement is placement


def test_without_models_only_what_is_asked_for_is_placed_on_the_frontend() -> None:
    assert read(type("Leaf", (Calls,), {})).placement is Placement.TRITON
    assert read(type("Leaf", (Calls,), {}), placement="frontend").placement is Placement.FRONTEND


def test_a_placement_that_cannot_be() -> None:
    class Mounted(Calls):
        pass

    orchestrator.asgi_app(object(), path="/app")(Mounted)
    with pytest.raises(DefinitionError, match=r"@service\(placement='triton'\): a service that mounts an application"):
        read(Mounted, placement="triton")
    with pytest.raises(DefinitionError, match=r"@service\(placement='gpu'\): takes 'triton' or 'frontend'"):
        orchestrator.service(placement="gpu")


def test_a_worker_goes_by_the_exported_spec_and_reads_no_model(tmp_path: Path) -> None:
    with placed_composed(tmp_path) as target:
        spec = load_service(target, tmp_path).spec
        for file in tmp_path.glob("*.onnx"):
            file.unlink()
        definition = load_definition(spec, tmp_path)
        assert definition.spec == spec
        assert definition.models == {}
        changed = spec.model_copy(update={"models": spec.models[1:]})
        with pytest.raises(DefinitionError, match=r"its models have changed .*orchestrator export"):
            load_definition(changed, tmp_path)


class Stored:
    def __init__(self, requested: str, tag: str) -> None:
        self.ref = StoredModelRef(requested=requested, tag=tag)

    def stored_ref(self) -> StoredModelRef:
        return self.ref


IN_THE_MODULE = Stored("module:latest", "module:3")


def test_stored_models_of_the_class_and_of_its_module_are_in_the_spec() -> None:
    class Base(Calls):
        iris = Stored("iris:latest", "iris:7")

    class Derived(Base):
        again = Stored("iris:latest", "iris:7")
        other = Stored("wine", "wine:1")
        not_one = Stored

    refs = stored_models(Derived)
    assert [(ref.requested, ref.tag) for ref in refs] == [
        ("module:latest", "module:3"), ("iris:latest", "iris:7"), ("wine", "wine:1"),
    ]  # fmt: skip
    assert read(Derived).stored == refs


def test_pins_are_those_of_the_service_that_was_loaded_last() -> None:
    set_pins([StoredModelRef(requested="iris:latest", tag="iris:7")])
    assert pinned("iris:latest") == "iris:7"
    assert pinned("iris") is None
    set_pins([])
    assert pinned("iris:latest") is None
