"""The handle that a service calls a model by: what it goes through, and how."""

import asyncio
import copy
import gc
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import orchestrator
from orchestrator.errors import DefinitionError, InvalidInput, ServiceFault
from orchestrator.sdk import read_service
from orchestrator.sdk.binding import Binding, bind, binding
from orchestrator.sdk.native import ModelHandle, NativeModel, Resolved, models_of
from orchestrator.spec import DType, ModelFormat, ModelOptions, ModelSignature, NativeModelSpec, Tag, TensorSpec
from orchestrator.testing import local_client
from tests import onnx_models

Arrays = Mapping[str, NDArray[Any]]
SPEC = NativeModelSpec(
    attribute="model",
    name="Any.model",
    format=ModelFormat.ONNX,
    file="model.onnx",
    signature=ModelSignature(
        inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1,)),),
        outputs=(TensorSpec(name="y", dtype=DType.FP32, shape=(-1,)),),
        batched=True,
    ),
    options=ModelOptions(max_batch_size=2),
    files_digest="0" * 64,
)


class Recorder:
    """A caller that gives back what it gets, and notes how it was called."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.most_at_once = 0
        self._now = 0

    def call(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        self.rows.append(len(inputs["x"]))
        return {"y": inputs["x"]}

    async def acall(self, spec: NativeModelSpec, inputs: Arrays, outputs: Sequence[str]) -> Arrays:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0.001 * float(inputs["x"][0]))  # the first ones end last
        self._now -= 1
        if inputs["x"][0] < 0:
            raise ServiceFault("it broke")
        return self.call(spec, inputs, outputs)


class Declared(NativeModel):
    """A declaration that must not be resolved."""

    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        raise AssertionError("it was bound")


def floats(*numbers: float) -> NDArray[np.float32]:
    return np.array(numbers, dtype=np.float32)


def handle(caller: Recorder) -> ModelHandle:
    return ModelHandle(lambda: (SPEC, caller))


def test_more_rows_than_a_batch_takes_go_in_pieces_and_come_back_in_order() -> None:
    caller = Recorder()
    assert handle(caller)(floats(5, 4, 3, 2, 1)).tolist() == [5, 4, 3, 2, 1]
    assert caller.rows == [2, 2, 1]


def test_async_pieces_go_together_but_not_all_at_once() -> None:
    caller = Recorder()
    numbers = floats(*range(100, 0, -1))
    assert asyncio.run(handle(caller).to_async(numbers)).tolist() == numbers.tolist()
    assert sorted(caller.rows) == [2] * 50
    assert caller.most_at_once == 8


def test_a_piece_that_fails_ends_the_others() -> None:
    caller = Recorder()

    async def main() -> int:
        with pytest.raises(ServiceFault, match="it broke"):
            await handle(caller).to_async(floats(-1, 0, *[10_000.0] * 30))
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert caller.rows == []


def test_no_rows_reach_no_model() -> None:
    caller = Recorder()
    assert handle(caller)(floats()).shape == (0,)
    assert asyncio.run(handle(caller).to_async(x=floats())).dtype == np.float32
    assert caller.rows == []


def test_the_names_that_runners_had() -> None:
    caller = Recorder()
    assert handle(caller).run(floats(1)).tolist() == [1]
    assert asyncio.run(handle(caller).async_run(x=floats(1), outputs=["y"])).tolist() == [1]


class Plain:
    model = Declared()


class Slots:
    __slots__ = ()
    model = Declared()


class Equal:
    """Equal to everything, and without a hash."""

    model = Declared()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("cls", [Plain, Slots, Equal])
def test_any_instance_can_be_bound_and_only_it_is(cls: type[Any]) -> None:
    first, second = cls(), cls()
    callers = [Recorder(), Recorder()]
    bind(first, Binding({"model": SPEC}, callers[0]))
    bind(second, Binding({"model": SPEC}, callers[1]))
    second.model(floats(1))
    assert (callers[0].rows, callers[1].rows) == ([], [1])
    with pytest.raises(AssertionError, match="it was bound"):
        cls().model(floats(1))
    with pytest.raises(AssertionError, match="it was bound"):
        copy.copy(first).model(floats(1)) if cls is not Slots else cls().model(floats(1))


def test_a_bound_instance_can_go() -> None:
    instance = Plain()
    bind(instance, Binding({"model": SPEC}, Recorder()))
    gone = weakref.ref(instance)
    del instance
    gc.collect()
    assert gone() is None


class Keeps:
    model = Declared()

    def __init__(self) -> None:
        self.kept = self.model


def test_a_handle_that_init_keeps_goes_the_same_way_from_any_thread() -> None:
    caller = Recorder()
    with binding(Keeps, Binding({"model": SPEC}, caller)):
        instance = Keeps()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(instance.kept, floats(1, 2)).result()
    assert caller.rows == [2]
    with pytest.raises(AssertionError, match="it was bound"):
        Keeps().kept(floats(1))


def test_the_class_gives_the_declaration_and_a_test_may_put_something_in_its_place() -> None:
    assert Plain.model is vars(Plain)["model"]
    instance: Any = Plain()
    instance.model = "something else"
    assert instance.model == "something else"


def test_models_of_a_class_are_its_bases_too_and_the_last_one_counts() -> None:
    class Base:
        first = Declared()
        hidden = Declared()

    class Derived(Base):
        hidden = None  # type: ignore[assignment]
        second = Declared()

    assert list(models_of(Derived)) == ["first", "second"]


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    return onnx_models.linear(tmp_path / "linear.onnx")


ROW = [[0, 0, 0, 1]]


def test_an_unbound_instance_opens_the_file_once_and_late(linear: Path) -> None:
    class Unbound:
        model = orchestrator.models.Onnx(linear)

        def __init__(self) -> None:
            self.kept = self.model

    moved = linear.rename(linear.with_name("moved.onnx"))
    instance = Unbound()
    with pytest.raises(DefinitionError, match="there is no such model file"):
        instance.kept(ROW)
    moved.rename(linear)
    assert instance.kept(ROW).tolist() == [[9, 10, 11]]
    linear.unlink()
    assert Unbound().model(ROW).tolist() == [[9, 10, 11]]
    assert instance.model.spec.name == "Unbound.model"
    assert repr(instance.model) == "<model Unbound.model>"


def test_many_threads_may_begin_with_an_unbound_instance(linear: Path) -> None:
    class Busy:
        model = orchestrator.models.Onnx(linear)

    instance, start = Busy(), threading.Barrier(8)

    def run() -> list[list[float]]:
        start.wait()
        answer: list[list[float]] = instance.model(ROW).tolist()
        return answer

    with ThreadPoolExecutor(8) as pool:
        answers = [future.result() for future in [pool.submit(run) for _ in range(8)]]
    assert answers == [[[9, 10, 11]]] * 8


def test_an_unbound_instance_may_be_called_where_an_event_loop_runs(linear: Path) -> None:
    class Notebook:
        model = orchestrator.models.Onnx(linear)

    async def cell() -> list[list[float]]:
        answer: list[list[float]] = Notebook().model(ROW).tolist()
        return answer

    assert asyncio.run(cell()) == [[9, 10, 11]]


def service_on(path: Path, **options: Any) -> type:
    @orchestrator.service(**options)
    class Served:
        model = orchestrator.models.Onnx(path)

        def __init__(self) -> None:
            self.kept = self.model
            if options.get("labels", {}).get("warm"):
                self.model(ROW)

        @orchestrator.api
        async def wrong(self) -> list[float]:
            answer: list[float] = self.kept(ROW)[0].tolist()
            return answer

        @orchestrator.api
        async def right(self) -> list[float]:
            answer: list[float] = (await self.kept.to_async(ROW))[0].tolist()
            return answer

        @orchestrator.api
        async def in_a_thread(self) -> list[float]:
            answer: list[float] = (await asyncio.to_thread(self.kept, ROW))[0].tolist()
            return answer

    return Served


def test_an_async_method_that_would_block_its_loop_is_told_what_to_write(linear: Path) -> None:
    with local_client(service_on(linear)) as client:
        answer = client.post("/wrong")
        assert answer.status_code == 500
        assert answer.json()["detail"] == (
            "Served.model was called in a way that blocks the event loop "
            "(in an async method write `await self.model.to_async(...)`)"
        )
        assert client.post("/right").json() == [9, 10, 11]
        assert client.post("/in_a_thread").json() == [9, 10, 11]


def test_init_cannot_call_a_model_and_is_told_what_to_do(linear: Path) -> None:
    service = service_on(linear, labels={"warm": "yes"})
    words = r"Served.model was called while the service starts .*\(keep `self.model` and call it in an API"
    with pytest.raises(DefinitionError, match=words), local_client(service):
        pass


def test_a_model_that_cannot_be_run_keeps_the_service_from_starting(linear: Path) -> None:
    service = service_on(linear)
    broken = read_service(service, "here:Served")
    linear.write_bytes(b"no longer a model")
    assert broken.spec.models[0].name == "Served.model"
    with pytest.raises(DefinitionError), local_client(service):
        pass


def test_readiness_asks_for_the_models_too(linear: Path) -> None:
    with local_client(service_on(linear)) as client:
        assert client.get("/readyz").status_code == 200


def test_input_that_a_model_refuses_is_the_callers_fault(linear: Path) -> None:
    class Strict:
        model = orchestrator.models.Onnx(linear)

    with pytest.raises(InvalidInput, match=r"^Strict\.model\.x: wanted FP32\[-1, 4\], got shape \[1, 3\]$"):
        Strict().model([[1, 2, 3]])
