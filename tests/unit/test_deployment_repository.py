"""What a repository on disk says of itself, the code that it keeps, and the lock that is on it while it changes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import orchestrator
from orchestrator.compiler import Target, plan_graph, write_repository
from orchestrator.deployment import ServiceCode, alone_in, keep_code, pin, serving_in, versions_in
from orchestrator.deployment.configs import service_path_of, version_of
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.plans import to_code
from orchestrator.errors import DeploymentError
from orchestrator.sdk import read_service
from orchestrator.spec import ServiceSpec
from orchestrator.worker.snapshot import take_snapshot
from orchestrator.worker.source import CODE_FILE, SERVICE_PATH_VARIABLE, SOURCES_FILE, code_folder


@orchestrator.service
class Zero:
    @orchestrator.api
    def tell(self) -> str:
        return "zero"


@orchestrator.service(resources={"gpu": 1})
class Middle:
    zero = orchestrator.depends(Zero)

    @orchestrator.api
    def tell(self) -> str:
        return str(self.zero.tell())


@orchestrator.service
class Above:
    middle = orchestrator.depends(Middle)

    @orchestrator.api
    def tell(self) -> str:
        return str(self.middle.tell())


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "m.py").write_text("VERSION = 1\n")
    return folder


def exported(place: Path, cls: type, target: Target = Target.EMBEDDED) -> list[ServiceSpec]:
    """Writes the repository of a service and of those that it calls."""
    specs = [each.spec for each in read_service(cls, f"m:{cls.__name__}").graph]
    write_repository(plan_graph(specs, target=target, service_path="../code"), place)
    return specs


def code_of(spec: ServiceSpec, folder: Path, target: Target = Target.EMBEDDED) -> ServiceCode:
    return ServiceCode(spec, folder, take_snapshot(folder), built_for=target, service_path="../code")


def test_the_services_are_found_callees_first_and_facades_and_strangers_are_none(tmp_path: Path) -> None:
    exported(tmp_path, Above)
    (tmp_path / "stranger/1").mkdir(parents=True)
    (tmp_path / "stranger/config.pbtxt").write_text('name: "stranger" backend: "python"')
    (tmp_path / ".deploy.Zero.left/1").mkdir(parents=True)
    (tmp_path / ".deploy.Zero.left/config.pbtxt").write_text("{")
    serving = serving_in(tmp_path)
    assert [each.name for each in serving.graph] == ["Zero", "Middle", "Above"]
    assert serving.name == "Above"
    assert versions_in(serving) == {"Zero": 1, "Middle": 1, "Above": 1}
    with pytest.raises(DeploymentError, match="has no service or model of ours"):
        serving_in(tmp_path / "stranger")


def test_what_it_was_exported_for_shows_in_its_configs(tmp_path: Path) -> None:
    exported(tmp_path / "here", Above)
    exported(tmp_path / "there", Above, Target.CONTAINER)
    assert serving_in(tmp_path / "here").built_for is Target.EMBEDDED
    assert serving_in(tmp_path / "there").built_for is Target.CONTAINER


def test_new_code_is_written_for_the_triton_that_will_run_it(tmp_path: Path, code: Path) -> None:
    spec = next(each for each in exported(tmp_path / "models", Above, Target.CONTAINER) if each.name == "Middle")
    serving = serving_in(tmp_path / "models")
    pin(serving)
    keep_code(serving, code_of(spec, code), None)
    (code / "m.py").write_text("VERSION = 2\n")
    swap = to_code(serving.own("Middle"), code_of(spec, code, Target.CONTAINER), serving.serves)
    assert swap is not None
    text = swap.after.now.config
    assert "KIND_GPU" in text
    assert service_path_of(text) == "../code", "not where it is on this machine"


def test_an_exported_config_names_no_version_and_a_pinned_one_does(tmp_path: Path) -> None:
    exported(tmp_path, Zero)
    folder = ModelFolder(tmp_path, "Zero")
    assert version_of(folder.config) is None
    pin(serving_in(tmp_path))
    assert version_of(folder.config) == 1


def test_the_code_that_serves_is_kept_for_workers_that_find_its_folder_by_themselves(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec,) = exported(tmp_path / "models", Zero)
    serving = serving_in(tmp_path / "models")
    assert keep_code(serving, code_of(spec, code), None)
    version = tmp_path / "models/Zero/1"
    assert {CODE_FILE, SOURCES_FILE} <= {each.name for each in version.iterdir()}
    assert not keep_code(serving, code_of(spec, code), None), "once"
    assert to_code(serving.own("Zero"), code_of(spec, code), serving.serves) is None, "it serves already"
    monkeypatch.setenv(SERVICE_PATH_VARIABLE, str(tmp_path / "elsewhere"))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    assert code_folder(version, {}) == tmp_path / "elsewhere"


def test_code_that_has_changed_since_the_export_is_not_taken_for_what_serves(tmp_path: Path, code: Path) -> None:
    (spec,) = exported(tmp_path / "models", Zero)
    serving = serving_in(tmp_path / "models")
    later = time.time() + 5
    os.utime(code / "m.py", (later, later))
    with pytest.raises(DeploymentError, match=r"m\.py has changed since") as caught:
        keep_code(serving, code_of(spec, code), None)
    assert caught.value.hint is not None
    assert "--before" in caught.value.hint
    assert [each.name for each in (tmp_path / "models/Zero/1").glob("code*")] == []
    assert keep_code(serving, code_of(spec, code), code), "who says so knows"


def test_what_is_written_can_be_read_by_those_who_may_read_the_model(tmp_path: Path) -> None:
    exported(tmp_path, Zero)
    folder = ModelFolder(tmp_path, "Zero")
    before = os.umask(0o077)
    try:
        pin(serving_in(tmp_path))
        folder.stage(2, lambda place: (place / "model.py").write_text(""))
    finally:
        os.umask(before)
    for path in (folder.version(2), folder.version(2) / "model.py", folder.place / "config.pbtxt"):
        assert path.stat().st_mode & 0o044 == 0o044, path


HOLD = """
import sys
from pathlib import Path
from orchestrator.deployment import alone_in
with alone_in(Path(sys.argv[1]), "the deployment of m:Zero"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_until_its_process_has_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(
                DeploymentError, match=rf"the deployment of m:Zero \(process {holder.pid} on .* is under way"
            ),
            alone_in(tmp_path, "mine", wait_s=0.3),
        ):
            pytest.fail("two at a time")
        holder.send_signal(signal.SIGKILL)
        with alone_in(tmp_path, "mine", wait_s=10):
            assert "mine (process" in (tmp_path / ".deploy.lock").read_text()
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
