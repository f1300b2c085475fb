"""What a model file becomes on Triton's side, field by field as Triton's own protobuf reads it, against the file itself."""

from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from orchestrator.compiler import RepositoryPlan, Target, plan_model, plan_repository
from orchestrator.errors import CompileError
from orchestrator.formats import ModelFiles, Sample, files_of, read_signature, write_sample
from orchestrator.sdk import read_service
from orchestrator.spec import Accelerator, ModelFormat, ModelOptions, NativeModelSpec, Placement, ServiceSpec
from tests.onnx_models import linear, save, text, value
from tests.services.rows import Rows

FLOAT = TensorProto.FLOAT
GPU = model_config_pb2.ModelInstanceGroup.KIND_GPU
CPU = model_config_pb2.ModelInstanceGroup.KIND_CPU
BOTH = [Target.EMBEDDED, Target.CONTAINER]
_found = find_spec("rapidocr")
assert _found
assert _found.origin
RAPIDOCR = Path(_found.origin).parent / "models"


def made(
    path: Path, format: ModelFormat = ModelFormat.ONNX, *, name: str = "m", read: Any = None, **more: Any
) -> tuple[NativeModelSpec, ModelFiles]:
    """The spec and the files of a model file.

    Args:
        read: of `read_signature`, besides.
        more: options where `ModelOptions` has them, else fields of the spec.
    """
    files = files_of(path, format)
    options = {key: more.pop(key) for key in list(more) if key in ModelOptions.model_fields}
    spec = NativeModelSpec(
        attribute="m",
        name=name,
        format=format,
        file=files.file,
        signature=read_signature(path, format, **(read or {})),
        options=ModelOptions(**options),
        files_digest=files.digest,
        **more,
    )
    return spec, files


def plan_of(path: Path, target: Target, format: ModelFormat = ModelFormat.ONNX, **more: Any) -> RepositoryPlan:
    return plan_model(*made(path, format, **more), target)


def text_of(plan: RepositoryPlan, model: str = "m") -> str:
    return plan.files[PurePosixPath(model) / "config.pbtxt"].decode()


def config_of(plan: RepositoryPlan, model: str = "m") -> Any:
    return text_format.Parse(text_of(plan, model), model_config_pb2.ModelConfig())


def tensors(listed: Any) -> dict[str, tuple[str, list[int]]]:
    return {t.name: (model_config_pb2.DataType.Name(t.data_type), list(t.dims)) for t in listed}


def groups(config: Any) -> list[tuple[int, int, list[int]]]:
    return [(group.count, group.kind, list(group.gpus)) for group in config.instance_group]


def in_the_file(values: Any, *, batched: bool) -> dict[str, tuple[str, list[int]]]:
    """Names, types and dims of an ONNX graph's inputs or outputs, in Triton's words."""
    words = {TensorProto.FLOAT: "TYPE_FP32", TensorProto.STRING: "TYPE_STRING", TensorProto.INT64: "TYPE_INT64"}
    found = {}
    for each in values:
        tensor = each.type.tensor_type
        dims = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else -1 for d in tensor.shape.dim]
        found[each.name] = (words[tensor.elem_type], dims[1:] if batched else dims)
    return found


def test_the_container_runs_the_file_by_its_own_backend(tmp_path: Path) -> None:
    plan = plan_of(linear(tmp_path / "iris.onnx"), Target.CONTAINER, version=3, queue_delay_us=0)
    config = config_of(plan)
    assert (config.name, config.backend, config.platform) == ("m", "onnxruntime", "")
    assert config.default_model_filename == "model.onnx"
    assert config.max_batch_size == 64
    assert tensors(config.input) == {"x": ("TYPE_FP32", [4])}
    assert tensors(config.output) == {"y": ("TYPE_FP32", [3])}
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert groups(config) == [(1, CPU, [])]
    assert list(config.version_policy.specific.versions) == [3]
    (warmup,) = config.model_warmup
    assert warmup.batch_size == 1
    assert {n: (i.data_type, list(i.dims), i.zero_data) for n, i in warmup.inputs.items()} == {
        "x": (model_config_pb2.TYPE_FP32, [4], True)
    }
    assert not config.HasField("response_cache")
    assert not config.HasField("optimization")
    assert not config.parameters
    assert dict(plan.copies) == {PurePosixPath("m/3/model.onnx"): tmp_path / "iris.onnx"}
    assert set(plan.files) == {PurePosixPath("m/config.pbtxt"), PurePosixPath("m/3/model.json")}


def test_the_embedded_server_runs_it_by_our_worker(tmp_path: Path) -> None:
    path = linear(tmp_path / "model.onnx")
    write_sample(tmp_path / "sample.npz", Sample({"x": np.zeros((1, 4), np.float32)}, {}))
    config = config_of(plan := plan_of(tmp_path, Target.EMBEDDED, version=2, threads=3))
    assert (config.backend, config.platform, config.default_model_filename) == ("python", "", "")
    assert not config.model_warmup  # the worker warms itself up
    assert not config.parameters  # and reads its threads from its spec
    assert list(config.version_policy.specific.versions) == [2]
    version = PurePosixPath("m/2")
    assert dict(plan.copies) == {version / "model.onnx": path, version / "sample.npz": tmp_path / "sample.npz"}
    assert b"orchestrator.worker.native_model" in plan.files[version / "model.py"]
    spec = NativeModelSpec.parse(plan.files[version / "model.json"])
    assert (spec.file, spec.options.threads, spec.attribute) == ("model.onnx", 3, "")


@pytest.mark.parametrize("name", sorted(path.name for path in RAPIDOCR.glob("*.onnx")))
@pytest.mark.parametrize("target", BOTH)
def test_the_models_of_rapidocr_are_as_their_files_say(name: str, target: Target) -> None:
    graph = onnx.load(RAPIDOCR / name).graph
    config = config_of(plan_of(RAPIDOCR / name, target, max_batch_size=8))
    assert config.max_batch_size == 8
    assert tensors(config.input) == in_the_file(graph.input, batched=True)
    assert tensors(config.output) == in_the_file(graph.output, batched=True)
    # Their widths are free, and not any width will do: nothing is made up.
    assert not config.model_warmup


@pytest.mark.parametrize("target", BOTH)
def test_both_targets_have_the_same_names_shapes_and_batching(tmp_path: Path, target: Target) -> None:
    kinds = {"words": TensorProto.STRING, "x": FLOAT, "i": TensorProto.INT64}
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds]
    inputs = [value(name, kind, ("batch", 2, "length")) for name, kind in kinds.items()]
    outputs = [value(f"{name}_out", kind, ("batch", 2, "length")) for name, kind in kinds.items()]
    path = save(tmp_path / "m.onnx", nodes, inputs, outputs)
    graph = onnx.load(path).graph
    config = config_of(plan_of(path, target, max_batch_size=16, queue_delay_us=500))
    assert config.max_batch_size == 16
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert not config.dynamic_batching.priority_levels
    assert tensors(config.input) == in_the_file(graph.input, batched=True)
    assert tensors(config.output) == in_the_file(graph.output, batched=True)


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize("how", ["fixed", "switched off"])
def test_a_model_without_a_batch_axis_says_so(tmp_path: Path, target: Target, how: str) -> None:
    fixed = how == "fixed"
    front = 1 if fixed else -1
    rows = 1 if fixed else "batch"
    path = linear(tmp_path / "m.onnx", axes=(rows, 4), output=(rows, 3))
    plan = plan_of(path, target, max_batch_size=None if fixed else 0)
    config = config_of(plan)
    assert "\nmax_batch_size: 0\n" in text_of(plan)
    assert not config.HasField("dynamic_batching")
    assert tensors(config.input) == {"x": ("TYPE_FP32", [front, 4])}
    assert tensors(config.output) == {"y": ("TYPE_FP32", [front, 3])}


@pytest.mark.parametrize("target", BOTH)
def test_a_tensor_with_no_axis_but_the_batchs_has_one_for_triton(tmp_path: Path, target: Target) -> None:
    nodes = [helper.make_node("Neg", ["x"], ["y"])]
    column = save(tmp_path / "c.onnx", nodes, [value("x", FLOAT, ("n",))], [value("y", FLOAT, ("n",))])
    for tensor in (*(config := config_of(plan_of(column, target))).input, *config.output):
        assert list(tensor.dims) == [1]
        assert tensor.HasField("reshape")
        assert list(tensor.reshape.shape) == []
    number = save(tmp_path / "n.onnx", nodes, [value("x", FLOAT, ())], [value("y", FLOAT, ())])
    for tensor in (*(config := config_of(plan_of(number, target))).input, *config.output):
        assert list(tensor.dims) == [1]
        assert not tensor.HasField("reshape")  # not valid without a batch axis; the backend knows a scalar


def test_a_free_length_is_warmed_up_with_the_samples(tmp_path: Path) -> None:
    linear(tmp_path / "m.onnx", axes=("batch", "width"))
    assert not config_of(plan_of(tmp_path, Target.CONTAINER)).model_warmup
    write_sample(tmp_path / "sample.npz", Sample({"x": np.zeros((7, 4), np.float32)}, {}))
    (warmup,) = config_of(plan_of(tmp_path, Target.CONTAINER)).model_warmup
    assert (warmup.batch_size, list(warmup.inputs["x"].dims)) == (1, [4])
    assert not config_of(plan_of(tmp_path, Target.CONTAINER, warmup=False)).model_warmup


def test_the_options_are_fields_of_the_config(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    config = config_of(plan_of(path, Target.CONTAINER, instances=2, threads=4, response_cache=True))
    assert groups(config) == [(2, CPU, [])]
    assert config.parameters["intra_op_thread_count"].string_value == "4"
    assert config.response_cache.enable
    on_gpus: dict[str, Any] = {"instances": 2, "gpus": (0, 3)}
    assert groups(config_of(plan_of(path, Target.CONTAINER, **on_gpus))) == [(2, GPU, [0]), (2, GPU, [3])]
    # Workers of the host, that take the GPUs in turn.
    assert groups(config_of(plan_of(path, Target.EMBEDDED, **on_gpus))) == [(4, CPU, [])]
    assert config_of(plan_of(path, Target.EMBEDDED, response_cache=True)).response_cache.enable


def test_an_accelerator_is_for_the_container_only(tmp_path: Path) -> None:
    path = linear(tmp_path / "m.onnx")
    tensorrt: dict[str, Any] = {"accelerator": Accelerator.TENSORRT, "gpus": (0, 1)}
    accelerators = config_of(plan_of(path, Target.CONTAINER, **tensorrt)).optimization.execution_accelerators
    assert [(a.name, dict(a.parameters)) for a in accelerators.gpu_execution_accelerator] == [
        ("tensorrt", {"precision_mode": "FP32"})
    ]
    assert not accelerators.cpu_execution_accelerator
    openvino: dict[str, Any] = {"accelerator": Accelerator.OPENVINO}
    accelerators = config_of(plan_of(path, Target.CONTAINER, **openvino)).optimization.execution_accelerators
    assert [a.name for a in accelerators.cpu_execution_accelerator] == ["openvino"]
    assert not accelerators.gpu_execution_accelerator
    for options in (tensorrt, openvino):
        assert not config_of(plan_of(path, Target.EMBEDDED, **options)).HasField("optimization")


@pytest.mark.parametrize("target", BOTH)
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"accelerator": Accelerator.TENSORRT}, r"'m': accelerator='tensorrt' needs a GPU.*\(gpus=\[0\], or"),
        (
            {"accelerator": Accelerator.OPENVINO, "gpus": (0,)},
            r"'m': accelerator='openvino' is for the CPU.*\(leave gpus",
        ),
    ],
)
def test_an_accelerator_without_its_device_is_refused(
    tmp_path: Path, target: Target, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CompileError, match=problem):
        plan_of(linear(tmp_path / "m.onnx"), target, **options)


READ = {"inputs": ["INPUT__0: FP32[-1, 4]"], "outputs": ["OUTPUT__0: FP32[-1, 3]"]}


@pytest.mark.parametrize(
    ("format", "file", "platform", "container", "embedded"),
    [
        (ModelFormat.TENSORRT, "model.plan", "tensorrt_plan", [(2, GPU, [0])], [(2, CPU, [])]),
        (ModelFormat.TORCHSCRIPT, "model.pt", "pytorch_libtorch", [(2, CPU, [])], [(2, CPU, [])]),
    ],
)
def test_other_formats_have_their_platform(
    tmp_path: Path, format: ModelFormat, file: str, platform: str, container: Any, embedded: Any
) -> None:
    (tmp_path / f"mine{Path(file).suffix}").write_bytes(b"x")
    config = config_of(plan := plan_of(tmp_path, Target.CONTAINER, format, read=READ, instances=2))
    assert (config.platform, config.backend, config.default_model_filename) == (platform, "", file)
    assert groups(config) == container  # a plan runs on a GPU or not at all
    assert PurePosixPath(f"m/1/{file}") in plan.copies
    config = config_of(plan_of(tmp_path, Target.EMBEDDED, format, read=READ, instances=2))
    assert (config.platform, config.backend) == ("", "python")
    assert groups(config) == embedded
    with pytest.raises(CompileError, match=f"accelerator='openvino' is for ONNX, not {format.value}"):
        plan_of(tmp_path, Target.CONTAINER, format, read=READ, accelerator=Accelerator.OPENVINO)


@pytest.mark.parametrize("target", BOTH)
def test_a_model_py_is_tritons_own_and_a_frameworks_file_is_run_by_our_worker(tmp_path: Path, target: Target) -> None:
    (tmp_path / "model.py").write_text("class TritonPythonModel: ...")
    (tmp_path / "labels.txt").write_text("a")
    plan = plan_of(tmp_path, target, ModelFormat.PYTHON, read=READ)
    config = config_of(plan)
    assert (config.backend, config.default_model_filename) == ("python", "model.py")
    assert {path.name for path in plan.copies} == {"model.py", "labels.txt"}
    (warmup,) = config.model_warmup
    assert warmup.inputs["INPUT__0"].zero_data
    (tmp_path / "iris.joblib").write_bytes(b"x")
    plan = plan_of(tmp_path / "iris.joblib", target, ModelFormat.PYTHON, read=READ, framework="sklearn")
    assert {path.name for path in plan.copies} == {"iris.joblib"}
    assert b"native_model" in plan.files[PurePosixPath("m/1/model.py")]
    assert not config_of(plan).model_warmup


def test_a_file_of_a_name_that_we_need_is_refused(tmp_path: Path) -> None:
    for name in ("iris.joblib", "model.json"):
        (tmp_path / name).write_text("x")
    spec, _ = made(tmp_path / "iris.joblib", ModelFormat.PYTHON, read=READ, framework="sklearn")
    files = files_of(tmp_path, ModelFormat.PYTHON, file="iris.joblib")
    with pytest.raises(CompileError, match=r"model.json has a name that we need \(rename it\)"):
        plan_model(spec, files, Target.EMBEDDED)
    with pytest.raises(CompileError, match=r"its file other.joblib is not among its files"):
        plan_model(spec.model_copy(update={"file": "other.joblib"}), files, Target.EMBEDDED)
    with pytest.raises(CompileError, match=r"'../up' cannot be the name of a Triton model"):
        plan_model(spec.model_copy(update={"name": "../up"}), files, Target.EMBEDDED)


def service(*specs: NativeModelSpec, **more: Any) -> ServiceSpec:
    spec = read_service(Rows, "tests.services.rows:Rows").spec
    return spec.model_copy(update={"models": specs, **more})


@pytest.mark.parametrize("target", BOTH)
def test_a_services_models_come_before_it(tmp_path: Path, target: Target) -> None:
    a, b = (made(linear(tmp_path / f"{name}.onnx"), name=name) for name in ("a", "b"))
    files = {"a": a[1], "b": b[1]}
    plan = plan_repository(service(a[0], b[0]), target=target, service_path="../x", models=files)
    assert plan.models == ("a", "b", "Rows")
    assert {path.parts[0] for path in (*plan.files, *plan.copies)} == set(plan.models)
    assert [config_of(plan, name).name for name in plan.models] == ["a", "b", "Rows"]
    alone = plan_model(*a, target)
    assert {path: plan.files[path] for path in alone.files} == dict(alone.files)
    front = service(a[0], b[0], placement=Placement.FRONTEND)
    assert plan_repository(front, target=target, service_path="../x", models=files).models == ("a", "b")
    with pytest.raises(CompileError, match="the files of model 'b' are not known"):
        plan_repository(front, target=target, service_path="../x", models={"a": a[1]})


def test_two_attributes_may_be_the_same_model_but_not_two_models_of_one_name(tmp_path: Path) -> None:
    spec, files = made(linear(tmp_path / "a.onnx"), name="a")
    again = spec.model_copy(update={"attribute": "again", "requested": "a:latest"})
    plan = plan_repository(service(spec, again), target=Target.EMBEDDED, service_path="../x", models={"a": files})
    assert plan.models == ("a", "Rows")
    other = again.model_copy(update={"version": 2})
    with pytest.raises(CompileError, match=r"Rows.m and Rows.again are both the Triton model 'a', and differ"):
        plan_repository(service(spec, other), target=Target.EMBEDDED, service_path="../x", models={"a": files})
    taken = spec.model_copy(update={"name": "Rows"})
    with pytest.raises(CompileError, match=r"two Triton models of the name 'Rows' \(give one a name=\)"):
        plan_repository(service(taken), target=Target.EMBEDDED, service_path="../x", models={"Rows": files})


def test_two_plans_of_a_model_are_the_same_bytes(tmp_path: Path) -> None:
    path = text(tmp_path / "m.onnx")
    assert plan_of(path, Target.EMBEDDED) == plan_of(path, Target.EMBEDDED)
