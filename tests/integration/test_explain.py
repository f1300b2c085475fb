"""`orchestrator explain`: what it says of services in different places; nothing here needs Triton."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from orchestrator import models
from orchestrator.cli.explanation import explain
from orchestrator.compiler import Target, plan_repository
from orchestrator.compiler.config import parse_config
from orchestrator.errors import CompileError
from orchestrator.sdk import load_service
from tests import onnx_models
from tests.integration.test_config_cli import run

SOURCE = Path(__file__).parents[1] / "services" / "explained.py"
FIXED = "an input or output has no free axis 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("explained")
    (folder / "explained.py").write_bytes(SOURCE.read_bytes())
    onnx_models.linear(folder / "linear.onnx")
    onnx_models.linear(folder / "fixed.onnx", axes=(1, 4), output=(1, 3))
    path = sys.path.copy()
    yield folder
    sys.path[:] = path
    sys.modules.pop("explained", None)


def explained(folder: Path, service: str, target: Target = Target.EMBEDDED, cores: int = 2) -> dict[str, Any]:
    return asdict(explain(load_service(f"explained:{service}", folder), target, cores))


def test_a_page_says_what_runs_where_and_why(folder: Path) -> None:
    done = run("explain", "explained:Workers", "--working-dir", folder, "--set", "workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    digest = explained(folder, "Workers")["models"][0]["digest"]
    size = (folder / "linear.onnx").stat().st_size
    assert (
        done.stdout.partition("Workers.plain")[0]
        == f"""\
Workers (explained:Workers), for the embedded Triton
  runs in    worker processes in Triton's Python backend, because it has the sync APIs score, count
  processes  2, on the CPU
  threads    2 for sync methods, in each process
  memory     2.1 GB each: resources.memory says so
  models     called through BLS, inside Triton
  facades    Workers.score, Workers.wait, Workers.count: for plain Triton clients, no process of their own

API    ROUTE   KIND    RUNS                             BATCHING
score  /score  sync    2 at once, in threads            up to 16 rows, by the worker: it is batchable; calls that come \
while others run go together afterwards
wait   /wait   async   many at once, on the event loop  none: it is not batchable
count  /count  stream  2 at once, in threads            none: it is not batchable

Workers.linear (self.linear)
  file       ONNX, {folder}/linear.onnx
  digest     sha256 {digest}
  runs in    onnxruntime, in Triton's Python backend, because the embedded Triton has no other backend
  batching   up to 8 rows, by Triton, waiting 500 us for more: axis 0 of all its inputs and outputs is free
  instances  2, on the CPU
  threads    3 in each instance: threads= says so
  memory     {size} B of weights in each instance, and more while it runs
  warm-up    before the first request

"""
    )
    assert f"  batching   none: {FIXED}\n" in done.stdout


@pytest.mark.parametrize(
    ("service", "placement", "why", "calls"),
    [
        ("Workers", "triton", "it has the sync APIs score, count", "BLS, inside Triton"),
        ("Waits", "frontend", "it calls models, and all its APIs are async", "Triton's network API"),
        ("OnGpu", "triton", "it asks for a GPU", "BLS, inside Triton"),
        ("Told", "triton", "@service(placement='triton') says so", "BLS, inside Triton"),
        ("Leaf", "triton", "it calls no models and no services: its methods do the work", ""),
        ("Process", "command", "it has cmd", ""),
    ],
)
def test_every_rule_of_placement_is_named(folder: Path, service: str, placement: str, why: str, calls: str) -> None:
    found = explained(folder, service)
    assert (found["placement"], found["runs"]["why"], found["calls_models"]) == (placement, why, calls)


def test_who_batches_follows_from_where_it_runs(folder: Path) -> None:
    (leaf,) = explained(folder, "Leaf")["apis"]
    assert (leaf["runs"], leaf["batching"]["by"], leaf["batching"]["max_rows"]) == (
        "one at a time in each worker", "triton", 32,
    )  # fmt: skip
    assert leaf["batching"]["queue_delay_us"] == 1000
    score, words = explained(folder, "Waits")["apis"]
    assert (score["kind"], words["kind"]) == ("async", "async stream")
    assert explained(folder, "Waits")["processes"] == {"count": None, "gpus": {}, "sees_gpus": False}


@pytest.mark.parametrize("target", list(Target))
@pytest.mark.parametrize("service", ["Workers", "OnGpu"])
def test_it_says_what_export_writes(folder: Path, service: str, target: Target) -> None:
    found = explained(folder, service, target)
    definition = load_service(f"explained:{service}", folder)
    plan = plan_repository(definition.spec, target=target, service_path="..", models=definition.models)
    files = {path.parts[0]: content for path, content in plan.files.items() if path.name == "config.pbtxt"}
    assert set(files) == {service, *found["facades"], *(model["name"] for model in found["models"])}
    for model in found["models"]:
        config = parse_config(files[model["name"]].decode())
        assert config.max_batch_size == model["batching"]["max_rows"]
        assert config.dynamic_batching.max_queue_delay_microseconds == model["batching"]["queue_delay_us"]
        groups = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
        assert groups == model["instances"]["count"]
        python = "in Triton's Python backend" in model["backend"]["what"]
        assert (config.backend == "python") is python is (target is Target.EMBEDDED)


def test_json_has_what_the_page_has(folder: Path) -> None:
    done = run("explain", "explained:OnGpu", "--working-dir", folder, "--target", "container", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(explained(folder, "OnGpu", Target.CONTAINER)))


def test_devices_and_options_of_a_model_on_gpus(folder: Path) -> None:
    contained = explained(folder, "OnGpu", Target.CONTAINER)
    assert contained["processes"] == {"count": 2, "gpus": {"0": 1, "1": 1}, "sees_gpus": False}
    (model,) = contained["models"]
    assert model["backend"] == {
        "what": "Triton's onnxruntime backend", "why": "the container has it for ONNX files",
    }  # fmt: skip
    assert model["batching"] == {"max_rows": 0, "queue_delay_us": 0, "by": "", "why": "max_batch_size=0 says so"}
    assert (model["instances"]["gpus"], model["accelerator"]) == ({"0": 1, "1": 1}, "tensorrt")
    assert (model["threads"], model["threads_why"]) == (None, "its backend decides")
    embedded = explained(folder, "OnGpu")
    assert embedded["processes"] == {"count": 2, "gpus": {}, "sees_gpus": True}
    (model,) = embedded["models"]
    assert (model["instances"], model["accelerator"]) == (
        {"count": 2, "gpus": {"0": 1, "1": 1}, "sees_gpus": False}, None,
    )  # fmt: skip
    page = run("explain", "explained:OnGpu", "--working-dir", folder, "--target", "container").stdout
    for line in ("processes  2: 1 on GPU 0, 1 on GPU 1", "hands on   its graph to tensorrt: accelerator= says so",
                 "cache      Triton answers equal requests", "warm-up    none: warmup=False says so"):  # fmt: skip
        assert f"  {line}" in page


def test_a_stored_model_is_named_by_its_tag(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    tag = models.save_model("linear", folder / "linear.onnx", framework="onnx").tag
    home = str(tmp_path / "home")
    document = asdict(explain(load_service("model:linear", folder), Target.EMBEDDED, 2))
    (model,) = document["models"]
    assert (document["placement"], document["runs"]["why"]) == (
        "frontend", "it calls models, and all its APIs are async",
    )  # fmt: skip
    assert (model["tag"], model["requested"], model["version"]) == (str(tag), "linear:latest", 1)
    page = run("explain", "model:linear", "--working-dir", folder, ORCHESTRATOR_HOME=home).stdout
    assert f"  model      {tag}, asked for as linear:latest; version 1 in Triton\n" in page
    missing = run("explain", "model:nothing", "--working-dir", folder, ORCHESTRATOR_HOME=home)
    assert missing.returncode == 3
    assert "Traceback" not in missing.stderr
    assert "nothing" in missing.stderr


def test_threads_that_nobody_gave_are_a_share_of_the_cores(folder: Path) -> None:
    linear, plain = explained(folder, "Workers", cores=12)["models"]
    assert (linear["threads"], linear["threads_why"]) == (3, "threads= says so")
    assert (plain["threads"], plain["threads_why"]) == (12, "its share of this machine's 12 cores")


def test_what_cannot_run_there_is_an_error(folder: Path) -> None:
    with pytest.raises(CompileError, match="accelerator='tensorrt' needs a GPU"):
        explained(folder, "NoGpu")
    done = run("explain", "explained:NoGpu", "--working-dir", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: model 'NoGpu.strict': accelerator='tensorrt' needs a GPU")


def graph_explained(service: str) -> dict[str, Any]:
    return asdict(explain(load_service(f"graph_explained:{service}", SOURCE.parent), Target.EMBEDDED, 2))


def test_a_graph_is_drawn_and_then_every_service_of_it_is_explained() -> None:
    done = run("explain", "graph_explained:Reader", "--working-dir", SOURCE.parent)
    assert (done.returncode, done.stderr) == (0, "")
    pages = done.stdout.split("\n\n")
    assert (
        pages[0]
        == """\
SERVICE                          AS            RUNS IN             CALLED THROUGH
Reader                                         the front-end       HTTP
├─ Speller                       self.speller  the front-end       the same event loop
│  ├─ Cleaner                    self.cleaner  the front-end       the same event loop
│  │  └─ Words                   self.words    Triton              Triton's network API
│  └─ Words                      self.words    Triton              Triton's network API
├─ Cleaner                       self.cleaner  the front-end       the same event loop, see above
└─ http://spelling.example:3000  self.far      a server elsewhere  HTTP"""
    )
    named = [page.split()[0] for page in pages[1:] if "graph_explained:" in page]
    assert named == ["Reader", "Speller", "Cleaner", "Words"], "the one that was asked for comes first"
    assert (
        """
  calls      Speller (self.speller) through the same event loop
  calls      Cleaner (self.cleaner) through the same event loop
  calls      http://spelling.example:3000 (self.far) through HTTP
"""
        in f"{pages[1]}\n"
    )
    assert pages[2].splitlines()[0].split() == ["API", "ROUTE", "KIND", "RUNS", "BATCHING"]
    words = done.stdout.partition("\nWords (graph_explained:Words)")[2]
    assert "  called by  Cleaner, Speller\n" in words
    assert "/count" not in words, "what only other services call has no route"


def test_the_graph_as_json_keeps_the_form_of_one_service() -> None:
    done = run("explain", "graph_explained:Printer", "--working-dir", SOURCE.parent, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads(json.dumps(graph_explained("Printer")))
    assert (document["service"], document["placement"]) == ("Printer", "triton")
    assert [each["service"] for each in document["others"]] == ["Cleaner", "Words"]
    assert all(each.keys() == document.keys() for each in document["others"])
    cleaner = document["others"][0]
    assert (cleaner["placement"], cleaner["runs"]["why"]) == ("triton", "Printer, which runs in Triton, calls it")
    assert cleaner["called_by"] == ["Printer"]
    for caller in (document, cleaner):
        assert [call["through"] for call in caller["calls"]] == ["BLS, inside Triton"]


def test_where_a_service_runs_depends_on_who_calls_it() -> None:
    placements = {each["service"]: each["placement"] for each in graph_explained("Reader")["others"]}
    assert placements == {"Speller": "frontend", "Cleaner": "frontend", "Words": "triton"}
    assert graph_explained("Cleaner")["placement"] == "frontend"
    assert graph_explained("Words")["others"] == ()
