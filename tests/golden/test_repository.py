"""What a service becomes on Triton's side, field by field as Triton's own protobuf reads it."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.compiler import RepositoryPlan, Target, plan_repository
from orchestrator.errors import CompileError
from orchestrator.sdk import load_service, read_service
from orchestrator.spec import SPEC_FILE, ServiceSpec
from tests.services.flows import Flows
from tests.services.greeter import Greeter
from tests.services.kinds import Kinds
from tests.services.mixed import Mixed
from tests.services.rows import Rows
from tests.services.walk import Steps

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SERVICES = [Greeter, Kinds, Mixed, Rows]
GPU = model_config_pb2.ModelInstanceGroup.KIND_GPU
CPU = model_config_pb2.ModelInstanceGroup.KIND_CPU


def plan_of(service: type, target: Target = Target.EMBEDDED) -> RepositoryPlan:
    spec = read_service(service, f"{service.__module__}:{service.__name__}").spec
    return plan_repository(spec, target=target, service_path="../services")


def text_of(plan: RepositoryPlan, model: str) -> str:
    return plan.files[PurePosixPath(model) / "config.pbtxt"].decode()


def config_of(plan: RepositoryPlan, model: str) -> Any:
    return text_format.Parse(text_of(plan, model), model_config_pb2.ModelConfig())


def tensors(listed: Any) -> dict[str, tuple[str, list[int], bool]]:
    names = model_config_pb2.DataType
    return {t.name: (names.Name(t.data_type), list(t.dims), getattr(t, "optional", False)) for t in listed}


def test_a_batching_service_is_one_model_with_a_dynamic_batcher() -> None:
    plan = plan_of(Rows)
    config = config_of(plan, "Rows")
    assert plan.models == ("Rows",)
    assert (config.name, config.backend, config.platform) == ("Rows", "python", "")
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 1000
    assert tensors(config.input) == {"rows": ("TYPE_FP32", [4], False)}
    assert tensors(config.output) == {"result": ("TYPE_FP32", [1], False)}
    assert [(group.count, group.kind) for group in config.instance_group] == [(2, CPU)]
    assert not config.model_transaction_policy.decoupled
    assert config.parameters["service_path"].string_value == "../services"


@pytest.mark.parametrize(("service", "decoupled"), [(Steps, False), (Flows, True)])
def test_only_a_stream_makes_a_model_decoupled(service: type, decoupled: bool) -> None:
    """Triton refuses plain inferences of a decoupled model, and ensembles over it."""
    assert read_service(service, "x:X").spec.concurrent
    assert config_of(plan_of(service), service.__name__).model_transaction_policy.decoupled is decoupled


def test_only_a_container_gets_the_gpu_that_the_service_asks_for() -> None:
    assert config_of(plan_of(Rows, Target.CONTAINER), "Rows").instance_group[0].kind == GPU
    assert config_of(plan_of(Rows, Target.EMBEDDED), "Rows").instance_group[0].kind == CPU
    assert config_of(plan_of(Greeter, Target.CONTAINER), "Greeter").instance_group[0].kind == CPU


@pytest.mark.parametrize(
    ("workers", "gpu", "groups"),
    [
        (1, 1, [(1, [0])]),
        (2, 1, [(1, [0]), (1, [1])]),
        (3, 0.5, [(2, [0]), (1, [1])]),
        (2, 2, [(1, [0]), (1, [2])]),
    ],
)
def test_every_worker_has_its_gpu_and_fractions_share_one(
    workers: int, gpu: float, groups: list[tuple[int, list[int]]]
) -> None:
    spec = read_service(Greeter, "greeter:Greeter").spec
    spec = spec.model_copy(update={"workers": workers, "resources": spec.resources.model_copy(update={"gpu": gpu})})
    config = config_of(plan_repository(spec, target=Target.CONTAINER, service_path="../services"), "Greeter")
    assert [(group.count, list(group.gpus)) for group in config.instance_group] == groups
    assert {group.kind for group in config.instance_group} == {GPU}


def test_a_service_that_does_not_batch_has_no_batch_axis_and_says_so() -> None:
    plan = plan_of(Greeter)
    config = config_of(plan, "Greeter")
    assert config.max_batch_size == 0
    assert "max_batch_size: 0\n" in text_of(plan, "Greeter")  # Triton would fill in a missing field
    assert not config.HasField("dynamic_batching")
    assert tensors(config.input) == {"name": ("TYPE_STRING", [1], True), "no-arguments": ("TYPE_BOOL", [1], True)}
    assert tensors(config.output) == {"result": ("TYPE_STRING", [1], False)}


def test_the_inputs_of_several_apis_are_optional_in_their_shared_model() -> None:
    config = config_of(plan_of(Mixed), "mixed-1.0")
    assert config.max_batch_size == 4
    assert tensors(config.input) == {
        "upper.words": ("TYPE_STRING", [1], True),
        "count.text": ("TYPE_STRING", [1], True),
        "version.no-arguments": ("TYPE_BOOL", [1], True),
    }
    assert tensors(config.output) == {
        "upper.result": ("TYPE_STRING", [1], False),
        "count.result": ("TYPE_INT64", [1], False),
        "version.result": ("TYPE_STRING", [1], False),
    }


def test_each_of_several_apis_has_a_facade_with_plain_names() -> None:
    plan = plan_of(Mixed)
    assert plan.models == ("mixed-1.0", "mixed-1.0.upper", "mixed-1.0.count", "mixed-1.0.version")
    facade = config_of(plan, "mixed-1.0.count")
    assert (facade.platform, facade.backend, facade.max_batch_size) == ("ensemble", "", 4)
    assert tensors(facade.input) == {"text": ("TYPE_STRING", [1], False)}
    assert tensors(facade.output) == {"result": ("TYPE_INT64", [1], False)}
    (step,) = facade.ensemble_scheduling.step
    assert (step.model_name, step.model_version) == ("mixed-1.0", -1)
    assert dict(step.input_map) == {"count.text": "text"}
    assert dict(step.output_map) == {"count.result": "result"}


def test_every_kind_has_its_tensor_type() -> None:
    config = config_of(plan_of(Kinds), "Kinds")
    assert {name: (dtype, dims) for name, (dtype, dims, _) in tensors(config.input).items()} == {
        "text.value": ("TYPE_STRING", [1]),
        "integer.value": ("TYPE_INT64", [1]),
        "number.value": ("TYPE_FP64", [1]),
        "boolean.value": ("TYPE_BOOL", [1]),
        "mapping.value": ("TYPE_STRING", [1]),
        "model.value": ("TYPE_STRING", [1]),
        "optional.value": ("TYPE_STRING", [1]),
        "optional.no-arguments": ("TYPE_BOOL", [1]),
        "anything.value": ("TYPE_STRING", [1]),
        "nothing.no-arguments": ("TYPE_BOOL", [1]),
        "open_array.value": ("TYPE_FP64", [-1, -1]),
        "array.value": ("TYPE_FP32", [-1, 3]),
        "words.value": ("TYPE_STRING", [-1]),
        "limits.small": ("TYPE_INT64", [1]),
        "limits.name": ("TYPE_STRING", [1]),
        "limits.no-arguments": ("TYPE_BOOL", [1]),
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_model_of_the_plan_has_a_config_of_its_name_and_a_version(service: type) -> None:
    plan = plan_of(service)
    assert {path.parts[0] for path in plan.files} == set(plan.models)
    for model in plan.models:
        assert config_of(plan, model).name == model
        assert any(path.parts[:2] == (model, "1") for path in plan.files)


@pytest.mark.parametrize("service", SERVICES)
def test_the_version_holds_the_spec_and_no_code_of_the_users(service: type) -> None:
    plan = plan_of(service)
    version = PurePosixPath(plan.models[0]) / "1"
    spec = ServiceSpec.parse(plan.files[version / SPEC_FILE])
    assert spec == read_service(service, f"{service.__module__}:{service.__name__}").spec
    assert load_service(spec.target, ROOT).spec == spec
    assert b"orchestrator.worker" in plan.files[version / "model.py"]


@pytest.mark.parametrize("service", SERVICES)
def test_two_plans_are_the_same_bytes(service: type) -> None:
    assert plan_of(service) == plan_of(service)


def test_plans_are_the_same_bytes_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from tests.golden.test_repository import *\n"
        "for service in SERVICES:\n"
        "    for path, content in plan_of(service).files.items(): print(path, content)\n"
    )

    def printed(seed: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        ).stdout

    here = "".join(f"{path} {content!r}\n" for service in SERVICES for path, content in plan_of(service).files.items())
    assert printed("1") == here


@pytest.mark.parametrize(("service", "model"), [(Rows, "Rows"), (Mixed, "mixed-1.0"), (Mixed, "mixed-1.0.count")])
def test_the_config_is_the_committed_text(service: type, model: str) -> None:
    # To accept a change: write the text that the failure shows into tests/golden/expected/.
    assert text_of(plan_of(service), model) == (HERE / "expected" / f"{model}.pbtxt").read_text()


def test_a_config_that_cannot_be_read_back_is_refused() -> None:
    from orchestrator.compiler.config import parse_config

    with pytest.raises(CompileError, match=r"config.pbtxt: 1:1"):
        parse_config("no_such_field: 1")


def test_the_committed_repository_is_what_the_example_says() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-m",
        "orchestrator",
        "export",
        "service:Iris",
        "--working-dir",
        "examples/iris",
        "--check",
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
