"""A stored model as a service: what its API is, and what it refuses."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

import orchestrator
from orchestrator.errors import DefinitionError
from orchestrator.formats import read_signature
from orchestrator.models import Onnx, Python, TensorRT
from orchestrator.models.serving import class_of_signature, service_class
from orchestrator.models.stores import default_store
from orchestrator.sdk import load_service, read_service
from orchestrator.sdk.native import NativeModel, Resolved
from orchestrator.spec import DType, ModelFormat, ModelRecord, ModelSignature, Placement, Tag, TensorSpec
from orchestrator.testing import local_client
from orchestrator.worker.instance import load_definition
from tests import onnx_models
from tests.onnx_models import value
from tests.places import assert_placed

ROW = [[0, 0, 0, 1]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    yield tmp_path
    default_store().close()


def save(name: str, folder: Path) -> ModelRecord:
    """Saves a folder with a model.onnx in it."""
    signature = read_signature(folder / "model.onnx", ModelFormat.ONNX)
    return default_store().save(Tag.of(name), folder, format=ModelFormat.ONNX, file="model.onnx", signature=signature)


def linear(home: Path, name: str = "text_det", factor: float = 1.0) -> ModelRecord:
    folder = home / f"{name}-{factor}"
    folder.mkdir()
    onnx_models.linear(folder / "model.onnx", factor=factor)
    return save(name, folder)


def odd(home: Path) -> ModelRecord:
    """Names that Python does not have, and two outputs, one of them text."""
    folder = home / "odd"
    folder.mkdir()
    nodes = [
        helper.make_node("Add", ["input.1", "class"], ["sum:0"]),
        helper.make_node("Identity", ["1st"], ["text"]),
    ]
    floats, texts = TensorProto.FLOAT, TensorProto.STRING
    inputs = [
        value("input.1", floats, ("n", 2)),
        value("class", floats, ("n", 2)),
        value("1st", texts, ("n",)),
    ]
    onnx_models.save(
        folder / "model.onnx", nodes, inputs, [value("sum:0", floats, ("n", 2)), value("text", texts, ("n",))]
    )
    return save("odd-one", folder)


def test_its_api_is_typed_by_the_signature(home: Path) -> None:
    record = linear(home)
    definition = load_service("model:text_det", home)
    (api,) = definition.spec.apis
    (argument,) = api.arguments
    assert (definition.spec.name, definition.spec.placement) == ("TextDet", Placement.FRONTEND)
    assert (api.name, api.route, api.is_async) == ("predict", "/predict", True)
    assert (argument.name, argument.value.dtype, argument.value.shape) == ("x", DType.FP32, (-1, 4))
    assert (api.result.dtype, api.result.shape) == (DType.FP32, (-1, 3))
    (model,) = definition.spec.models
    assert (model.name, model.requested, model.tag) == ("text_det", "text_det:latest", str(record.tag))
    assert (model.version, model.tolerance) == (1, record.tolerance)


def test_json_and_npy_and_what_does_not_fit(home: Path) -> None:
    linear(home)
    with local_client(service_class("text_det:latest")) as client:
        assert client.post("/predict", json={"x": ROW}).json() == [[9, 10, 11]]
        body = io.BytesIO()
        np.save(body, np.array(ROW, dtype=np.float32))
        headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
        answer = client.post("/predict", content=body.getvalue(), headers=headers)
        assert np.load(io.BytesIO(answer.content)).tolist() == [[9, 10, 11]]
        for wrong in ({"x": [[1, 2]]}, {"x": [["a", "b", "c", "d"]]}, {}):
            answer = client.post("/predict", json=wrong)
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["loc"] == ["x"]
        operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["x"]
        assert (schema["dtype"], schema["shape"]) == ("float32", [-1, 4])


def test_names_that_python_does_not_have_and_several_outputs(home: Path) -> None:
    odd(home)
    service = service_class("odd-one")
    spec = read_service(service, "model:odd-one").spec
    assert (spec.name, [a.name for a in spec.apis[0].arguments]) == ("OddOne", ["input_1", "class_", "input_1st"])
    with local_client(service) as client:
        answer = client.post("/predict", json={"input_1": [[1, 2]], "class_": [[3, 4]], "input_1st": ["käse"]})
        assert answer.json() == {"sum:0": [[4.0, 6.0]], "text": ["käse"]}
        operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
        properties = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        assert properties["input_1"]["description"] == "input 'input.1' of the model"
        result = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
        assert (result["sum:0"]["dtype"], result["sum:0"]["shape"]) == ("float32", [-1, 2])
        assert result["text"]["dtype"] == "str"


class _Given(NativeModel):
    def resolve(self, service: str, attribute: str, tag: Tag | None = None) -> Resolved:
        raise AssertionError


def test_inputs_that_may_be_left_out_and_names_that_meet() -> None:
    tensors = [
        TensorSpec(name="outputs", dtype=DType.FP32, shape=(-1,)),
        TensorSpec(name="a.b", dtype=DType.INT64, shape=(-1,), optional=True),
        TensorSpec(name="a_b", dtype=DType.BYTES, shape=(-1,)),
        TensorSpec(name="_", dtype=DType.BOOL, shape=()),
    ]
    signature = ModelSignature(inputs=tuple(tensors), outputs=(TensorSpec(name="y", dtype=DType.FP16, shape=(1,)),))
    service = class_of_signature("Named", _Given(), {"predict": signature, "other": signature}, "Doc.")
    spec = read_service(service, "here:Named", models=(_spec(signature),)).spec
    assert [api.name for api in spec.apis] == ["predict", "other"]
    arguments = spec.apis[0].arguments
    assert [(a.name, a.required) for a in arguments] == [
        ("outputs", True), ("a_b", False), ("a_b_", True), ("input", True),
    ]  # fmt: skip
    assert arguments[1].value.nullable


def _spec(signature: ModelSignature) -> Any:
    from orchestrator.spec import NativeModelSpec

    return NativeModelSpec(
        attribute="model", name="n", format=ModelFormat.ONNX, file="f", signature=signature, files_digest="0" * 64
    )


def test_a_model_with_the_name_of_its_class(home: Path) -> None:
    linear(home, "Iris")
    spec = load_service("model:Iris", home).spec
    assert (spec.name, spec.models[0].name) == ("IrisService", "Iris")


def test_another_process_needs_no_store(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear(home)
    spec = load_service("model:text_det", home).spec
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home / "nowhere"))
    assert load_definition(spec, home).spec == spec
    assert not (home / "nowhere").exists()


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("model:nothing", "model:nothing:latest: no model 'nothing'"),
        ("model:text_det:7", "model:text_det:7: no version or alias '7'"),
        ("model:", "write model:NAME or model:NAME:VERSION"),
        ("model:a b", "write model:NAME or model:NAME:VERSION"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(home: Path, target: str, words: str) -> None:
    linear(home)
    with pytest.raises(DefinitionError, match=words) as caught:
        load_service(target, home)
    assert caught.value.file is None


def test_a_tag_on_a_class_gets_the_version_of_its_name(home: Path) -> None:
    linear(home)
    second = linear(home, factor=2.0)
    default_store().set_alias("text_det", "production", second.tag.version)

    @orchestrator.service
    class Reader:
        newest = Onnx("text_det")
        same = Onnx("text_det:production", name="other", max_batch_size=2)

        @orchestrator.api
        def read(self) -> list[float]:
            answer: list[float] = self.newest(ROW)[0].tolist()
            return answer

    definition = read_service(Reader, "here:Reader")
    newest, same = definition.spec.models
    assert (newest.name, newest.version, newest.requested) == ("text_det", 2, "text_det:latest")
    assert (same.name, same.version, same.requested) == ("other", 2, "text_det:production")
    assert newest.tag == same.tag == str(second.tag)
    assert newest.files_digest == definition.models["text_det"].digest
    assert Reader().read() == [18, 20, 22]


def test_a_stored_model_of_another_format_is_told_with_the_class_to_use(home: Path) -> None:
    record = linear(home)

    class Wrong:
        model = TensorRT("text_det")

    class AlsoWrong:
        model = Python("text_det")

    for cls, line in ((Wrong, "TensorRT("), (AlsoWrong, "Python(")):
        words = rf"{cls.__name__}\.model: {record.tag} is an ONNX model .*declare it as Onnx\('text_det:latest'\)"
        with pytest.raises(DefinitionError, match=words) as caught:
            cls.model.resolve(cls.__name__, "model")
        assert_placed(caught.value, line)


def test_a_stored_file_that_nothing_runs(home: Path) -> None:
    folder = home / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    default_store().save(Tag.of("notes"), folder)
    with pytest.raises(DefinitionError, match=r"model:notes:latest: .* has no file that Triton can run"):
        service_class("notes")


def test_a_missing_model_is_told_at_the_users_line() -> None:
    class Missing:
        model = Onnx("nothing:3")

    with pytest.raises(DefinitionError, match=r"Missing\.model: no model 'nothing'") as caught:
        Missing.model.resolve("Missing", "model")
    assert_placed(caught.value, 'Onnx("nothing')


def test_a_frameworks_own_model_is_run_by_its_library(home: Path) -> None:
    import joblib
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    flowers = load_iris()
    classifier = DecisionTreeClassifier(random_state=0).fit(flowers.data, flowers.target)
    folder = home / "iris"
    folder.mkdir()
    joblib.dump(classifier, folder / "model.pkl")
    signature = ModelSignature(
        inputs=(TensorSpec(name="x", dtype=DType.FP64, shape=(-1, 4)),),
        outputs=(TensorSpec(name="label", dtype=DType.INT64, shape=(-1,)),),
        batched=True,
    )
    default_store().save(
        Tag.of("iris"), folder, framework="sklearn", file="model.pkl", method="predict", signature=signature
    )
    spec = load_service("model:iris", home).spec.models[0]
    assert (spec.format, spec.framework, spec.method) == (ModelFormat.PYTHON, "sklearn", "predict")
    with local_client(service_class("iris")) as client:
        answer = client.post("/predict", json={"x": flowers.data[::10].tolist()})
        assert answer.json() == classifier.predict(flowers.data[::10]).tolist()
