"""`runner_service` and `depends`, without BentoML's alias."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import bentoml
from orchestrator.errors import DefinitionError
from orchestrator.models.stored import Model
from orchestrator.models.stores import default_store
from orchestrator.sdk import read_service
from orchestrator.spec import Placement, Tag
from orchestrator.testing import local_client
from tests.places import assert_placed
from tests.seeds import save_for_runner

ROW = np.array([[0, 0, 0, 1]], dtype=np.float32)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    (tmp_path / "new").mkdir()
    save_for_runner(tmp_path / "new")
    store = default_store()
    yield Model(store.get(Tag.of("model_name")), store, requested="model_name:latest")
    store.close()


def test_a_runner_is_a_model_of_the_service_with_its_methods(model: Model) -> None:
    service = bentoml.runner_service(runner=model.to_runner())

    @bentoml.service
    class Sums:
        linear = bentoml.depends(service)

        @bentoml.api
        def add(self) -> list[float]:
            answer: list[float] = self.linear.predict.run(ROW)[0].tolist()
            return answer

    spec = read_service(Sums, "here:Sums").spec
    assert spec.placement is Placement.TRITON
    assert [(each.attribute, each.name, each.tag) for each in spec.models] == [
        ("linear", "model_name", "model_name:version")
    ]
    with local_client(Sums) as client:
        assert client.post("/add").json() == [9, 10, 11]


def test_the_names_that_a_runner_has(model: Model) -> None:
    class Holder:
        linear: Any = bentoml.depends(bentoml.runner_service(model.to_runner()))

    linear = Holder().linear
    assert linear.predict.run(ROW).tolist() == linear.run(ROW).tolist() == [[9, 10, 11]]
    assert asyncio.run(linear.predict.async_run(ROW)).tolist() == [[9, 10, 11]]
    assert asyncio.run(linear.async_run(x=ROW)).tolist() == [[9, 10, 11]]
    with pytest.raises(AttributeError, match="the runner has no method 'transform': it has predict"):
        _ = linear.transform


def test_what_is_no_runner_is_told_at_the_users_line() -> None:
    with pytest.raises(DefinitionError, match="int is no runner") as caught:
        bentoml.runner_service(7)  # type: ignore[arg-type]
    assert_placed(caught.value, "runner_service(7)")


@pytest.mark.parametrize(
    ("given", "said"),
    [(object, "is not a service"), (None, "takes the other service's class"), (7, "is not a service")],
)
def test_what_is_no_service_is_told_at_the_users_line(given: Any, said: str) -> None:
    with pytest.raises(DefinitionError, match=said) as caught:
        bentoml.depends(given)
    assert_placed(caught.value, "bentoml.depends(given)")


def test_a_runner_whose_model_has_gone_is_told_at_the_line_of_depends(model: Model) -> None:
    class Holder:
        linear: Any = bentoml.depends(bentoml.runner_service(model.to_runner()))

    default_store().delete(model.record.tag)
    with pytest.raises(DefinitionError, match="'model_name'") as caught:
        Holder().linear.predict.run(ROW)
    assert_placed(caught.value, "linear: Any")
