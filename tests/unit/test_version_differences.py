"""What keeps one version from standing in for another, in words."""

import textwrap

import pytest

from orchestrator.deployment.differences import interface_differences, kept_settings, model_differences
from orchestrator.sdk.graph import read_service
from orchestrator.spec import DType, ModelFormat, ModelSignature, NativeModelSpec, ServiceSpec, TensorSpec

OLD = """
import orchestrator
import numpy as np
from pydantic import BaseModel, Field

class Item(BaseModel):
    price: float
    count: int = 1

@orchestrator.service
class Shop:
    @orchestrator.api
    def price(self, item: Item, rebate: float = 0.5) -> float:
        "What it costs."
        return item.price

    @orchestrator.api(batchable=True)
    def rows(self, x: np.ndarray) -> np.ndarray:
        return x
"""


def shop(source: str) -> ServiceSpec:
    namespace: dict[str, object] = {"__name__": "shop"}
    exec(compile(textwrap.dedent(source), "shop.py", "exec"), namespace)
    cls = namespace["Shop"]
    assert isinstance(cls, type)
    return read_service(cls, "shop:Shop").spec


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it costs.", "What you pay."),
        ("rebate: float = 0.5", "rebate: float = 0.7"),
        ("return item.price", "return item.price * 2"),
        ("@orchestrator.service", "@orchestrator.service(workers=3, traffic={'timeout': 7})"),
        ("price: float\n", "price: float = Field(description='in euros', title='Price')\n"),
    ],
)
def test_code_words_defaults_and_settings_may_change(old: str, new: str) -> None:
    assert OLD.replace(old, new) != OLD
    assert interface_differences(shop(OLD), shop(OLD.replace(old, new))) == []


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("rebate: float", "rebate: int", "`price`, argument `rebate`: number became integer"),
        ("rebate: float = 0.5", "other: float = 0.5", "`price`, argument `other` is new"),
        ("def price(", "def cost(", "`price` is gone"),
        (
            "price: float\n",
            "price: str\n",
            "`price`, argument `item`, json_schema, properties, price, type: number became string",
        ),
        (") -> float", ") -> str", "`price`, result: number became text"),
        ("count: int = 1", "count: int", "required"),
        ("batchable=True", "batchable=True, max_batch_size=7", "largest batch: 100 became 7"),
        ("    def price", "    async def price", "its Triton model: one call at a time became concurrent"),
        ("@orchestrator.api\n", "@orchestrator.api(route='/p')\n", "`price`, route: /price became /p"),
        (
            "class Shop:",
            "class Shop:\n    def __is_ready__(self) -> bool:\n        return True",
            "`__is_ready__` is new",
        ),
    ],
)
def test_what_callers_see_may_not(old: str, new: str, line: str) -> None:
    assert OLD.replace(old, new) != OLD
    assert any(line in each for each in interface_differences(shop(OLD), shop(OLD.replace(old, new))))


def test_another_name_is_another_service() -> None:
    other = shop(OLD.replace("@orchestrator.service", "@orchestrator.service(name='Stall')"))
    assert interface_differences(shop(OLD), other) == ["the name: Shop became Stall"]


def test_settings_of_the_front_end_stay_and_are_named() -> None:
    new = "@orchestrator.service(workers=3, traffic={'timeout': 7}, http={'port': 9})"
    assert kept_settings(shop(OLD), shop(OLD.replace("@orchestrator.service", new))) == ["traffic"]


def tensor(name: str, *shape: int, dtype: DType = DType.FP32) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def model(*outputs: TensorSpec, batched: bool = True, format: ModelFormat = ModelFormat.ONNX) -> NativeModelSpec:
    signature = ModelSignature(inputs=(tensor("x", -1, 4),), outputs=outputs, batched=batched)
    return NativeModelSpec(
        attribute="m", name="m", format=format, file="model.onnx", signature=signature, files_digest="0", tag="m:1"
    )


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (model(tensor("scores", -1, 10)), []),
        (model(tensor("scores", -1, 12)), ["output `scores`: FP32[-1,10] became FP32[-1,12]"]),
        (
            model(tensor("scores", -1, 10, dtype=DType.FP64)),
            ["output `scores`: FP32[-1,10] became FP64[-1,10]"],
        ),
        (model(tensor("labels", -1, 10)), ["output `scores` is gone", "output `labels` is new"]),
        (model(tensor("scores", -1, 10), tensor("y", -1)), ["output `y` is new"]),
        (model(tensor("scores", -1, 10), batched=False), ["it has no batch axis any more"]),
        (model(tensor("scores", -1, 10), format=ModelFormat.PYTHON), ["format: onnx became python"]),
    ],
)
def test_a_models_differences_are_a_line_each(new: NativeModelSpec, lines: list[str]) -> None:
    old = model(tensor("scores", -1, 10))
    assert model_differences(old, new) == lines
    assert (not lines) == (old.signature.accepts(new.signature) and old.format is new.format)


def test_the_same_tensors_in_another_order_are_not_the_same() -> None:
    a, b = tensor("a", -1), tensor("b", -1)
    assert model_differences(model(a, b), model(b, a)) == ["outputs: a, b became b, a"]


def test_a_services_models_are_part_of_it_but_their_versions_are_not() -> None:
    old = shop(OLD).model_copy(update={"models": (model(tensor("y", -1)),)})

    def with_model(**update: object) -> ServiceSpec:
        return old.model_copy(update={"models": (old.models[0].model_copy(update=update),)})

    assert interface_differences(old, with_model(tag="m:2", version=2, files_digest="1")) == []
    assert interface_differences(old, old.model_copy(update={"models": ()})) == ["model `m` is gone"]
    assert interface_differences(old, with_model(attribute="n")) == ["model `m` is gone", "model `n` is new"]
    path = with_model(tag=None)
    changed = path.model_copy(update={"models": (path.models[0].model_copy(update={"files_digest": "1"}),)})
    assert interface_differences(path, changed) == ["model `m`: its file has changed"]
