"""Versions on several Tritons that no `serve` started: the same repository, the same address list, one command."""

import asyncio
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.deployment.configs import as_json, for_version
from orchestrator.deployment.folder import ModelFolder
from orchestrator.triton import Control
from tests.e2e.serving import COMMAND, Serving, eventually
from tests.e2e.supervised_triton import SupervisedTriton
from tests.e2e.versions import done, orchestrator, orchestrator_here, refused, save_number, write_code

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

PICKY = """
from pathlib import Path
if (Path(__file__).parent / "broken").exists():
    raise RuntimeError("this machine does not like it")
"""


@dataclass
class Fleet:
    """Two Tritons, each with a copy of the code of its own, and a front-end."""

    code: Path
    repository: Path
    tritons: list[SupervisedTriton]
    folders: list[Path]
    server: Serving

    @property
    def options(self) -> list[str]:
        """Of the commands that are for it."""
        return ["--triton", ",".join(each.url for each in self.tritons), "--repository", str(self.repository)]

    def deploy(self, *more: str) -> list[str]:
        return ["deploy", "service:Teller", "--working-dir", str(self.code), *self.options, *more]

    def serving(self, model: str) -> list[list[str]]:
        return [each.versions(model) for each in self.tritons]

    def told(self) -> tuple[str, float]:
        answer = httpx2.post(f"{self.server.url}/tell", json={"x": 0}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["code"], answer.json()["model"]


@dataclass
class Asked:
    """What callers got: answers, and those that were none."""

    seen: set[tuple[str, float]] = field(default_factory=set)
    failed: list[tuple[int, str]] = field(default_factory=list)
    count: int = 0


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    home = tmp_path / "home"
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(home))
    save_number(home, 1)
    code, repository = tmp_path / "code", tmp_path / "models"
    write_code(code, "a")
    exported = orchestrator("export", "service:Teller", "--working-dir", str(code), "--repository", str(repository))
    assert exported.returncode == 0, exported.stderr
    (repository / ".deploy.Teller.left" / "1").mkdir(parents=True)  # of a command that died
    (repository / ".deploy.Teller.left" / "config.pbtxt").write_text("{")
    folders = [Path(shutil.copytree(code, tmp_path / name)) for name in ("one", "two")]
    with ExitStack() as stack:
        tritons = [stack.enter_context(SupervisedTriton(repository, folder)) for folder in folders]
        for triton in tritons:
            assert triton.ready("Teller", "number"), triton.log.read_text()
        urls = ",".join(each.url for each in tritons)
        server = stack.enter_context(Serving("service:Teller", "--triton", urls, working_dir=code))
        yield Fleet(code, repository, tritons, folders, server)


@contextmanager
def asking(fleet: Fleet, callers: int = 4) -> Iterator[Asked]:
    """Asks without a pause until the end."""
    stop, asked = threading.Event(), Asked()

    def ask() -> None:
        with httpx2.Client(base_url=fleet.server.url, timeout=30) as http:
            while not stop.is_set():
                answer = http.post("/tell", json={"x": 0})
                asked.count += 1
                if answer.status_code == 200:
                    asked.seen.add((answer.json()["code"], answer.json()["model"]))
                else:
                    asked.failed.append((answer.status_code, answer.text))

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def changed(outcome: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """Model, version, and the version before."""
    return [(each["model"], each["version"], each["before"]) for one in outcome for each in one["changed"]]


def test_versions_move_on_all_machines_and_no_call_fails(fleet: Fleet, tmp_path: Path) -> None:
    configs = fleet.repository.glob("*/config.pbtxt")
    assert not any("version_policy" in each.read_text() for each in configs if each.parent.name == "Teller")
    before = [each.successes("Teller") for each in fleet.tritons]
    with asking(fleet) as asked:
        first = orchestrator(*fleet.deploy())
        assert first.returncode == 0, first.stderr
        assert "the code of the Teller that serves is kept now" in first.stderr
        assert "it serves already" in first.stderr
        after = [each.successes("Teller") for each in fleet.tritons]
        assert all(now > then for now, then in zip(after, before, strict=True)), "nothing was loaded, both were asked"
        write_code(fleet.code, "b")
        assert changed(done(*fleet.deploy())) == [("Teller", 2, 1)]
        assert fleet.serving("Teller") == [["2"], ["2"]]
        save_number(tmp_path / "home", 2)
        assert changed(done("models", "deploy", "number:2", *fleet.options)) == [("number", 2, 1)]
        assert fleet.serving("number") == [["2"], ["2"]]
        assert fleet.told() == ("b", 2)
        (status,) = done("models", "status", *fleet.options)
        models = {each["model"]: each for each in status["models"]}
        assert models["Teller"]["states"] == {"2": "READY"}
        assert (models["number"]["what"], models["number"]["before"]) == ("number:2", "number:1")
        assert changed(done("rollback", "Teller", *fleet.options)) == [("Teller", 1, 2)]
        assert changed(done("rollback", "number", *fleet.options)) == [("number", 1, 2)]
        assert fleet.told() == ("a", 1)
    assert not asked.failed, (len(asked.failed), asked.failed[:3])
    assert {("a", 1), ("b", 1), ("b", 2)} <= asked.seen
    page = httpx2.get(f"{fleet.server.url}/readyz", timeout=10)
    assert page.status_code == 200, page.text
    assert httpx2.get(f"{fleet.server.url}/status.json", timeout=10).status_code == 200
    print(f"\n{asked.count} calls, none failed")


def test_a_version_that_one_machine_cannot_load_is_taken_back_on_all(fleet: Fleet) -> None:
    done(*fleet.deploy())
    (fleet.folders[1] / "broken").touch()
    write_code(fleet.code, "b")
    with (fleet.code / "helper.py").open("a") as helper:
        helper.write(PICKY)
    config = (fleet.repository / "Teller/config.pbtxt").read_text()
    with asking(fleet) as asked:
        said = refused(*fleet.deploy())
        assert f"{fleet.tritons[1].address}: model 'Teller' failed to load" in said
        assert "this machine does not like it" in said
        assert "version 1 goes on" in said
        assert eventually(lambda: fleet.serving("Teller") == [["1"], ["1"]], 5)
    assert not asked.failed, asked.failed[:3]
    assert fleet.told() == ("a", 1)
    assert (fleet.repository / "Teller/config.pbtxt").read_text() == config
    assert sorted(each.name for each in (fleet.repository / "Teller").iterdir()) == ["1", "config.pbtxt"]
    # A command that died in the middle leaves machines that differ; the next one has them serve what the disk says.
    (fleet.folders[1] / "broken").unlink()
    done(*fleet.deploy())
    text = for_version(ModelFolder(fleet.repository, "Teller").config, 1)
    asyncio.run(load(fleet.tritons[0].address, "Teller", as_json(text)))
    assert fleet.serving("Teller") == [["1"], ["2"]]
    (status,) = done("models", "status", *fleet.options)
    states = next(each["states"] for each in status["models"] if each["model"] == "Teller")
    assert all("READY on 1 of 2" in states[version] for version in "12"), states
    again = orchestrator_here("models", "deploy", "number:1", *fleet.options)
    assert again.returncode == 0, again.stderr
    assert f"{fleet.tritons[0].address} did not serve version 2 of Teller" in again.stderr
    assert fleet.serving("Teller") == [["2"], ["2"]]


async def load(address: str, model: str, config: str) -> None:
    async with Control(address) as control:
        await control.load_model(model, config)


def test_a_machine_that_is_killed_comes_back_with_what_was_deployed(fleet: Fleet, tmp_path: Path) -> None:
    done(*fleet.deploy())
    with asking(fleet) as asked:
        fleet.tritons[0].kill()
        assert eventually(lambda: asked.count > 0, 5)
        save_number(tmp_path / "home", 2)
        said = refused("models", "deploy", "number:2", *fleet.options)
        assert f"no Triton answers at {fleet.tritons[0].url} (" in said
        assert fleet.tritons[1].versions("number") == ["1"]
        assert changed(done("models", "deploy", "number:2", *fleet.options, "--skip-silent")) == [("number", 2, 1)]
        write_code(fleet.code, "b")
        skipping = orchestrator(*fleet.deploy("--skip-silent"))
        assert skipping.returncode == 0, skipping.stderr
        assert skipping.stderr.count(f"{fleet.tritons[0].url} does not answer and is left out") == 1, skipping.stderr
        fleet.tritons[0].start()
        assert fleet.tritons[0].ready("Teller", "number"), fleet.tritons[0].log.read_text()
        assert fleet.serving("Teller") == [["2"], ["2"]]
        assert fleet.serving("number") == [["2"], ["2"]]
        first = fleet.tritons[0].successes("Teller")
        assert eventually(lambda: fleet.tritons[0].successes("Teller") > first + 10, 10), "it gets calls again"
    inside = [text for status, text in asked.failed if status == 503]
    assert len(inside) == len(asked.failed) <= 4, asked.failed
    assert not re.search("Traceback", fleet.server.log)


def test_new_code_needs_to_know_what_it_takes_the_place_of(fleet: Fleet, tmp_path: Path) -> None:
    shutil.copytree(fleet.code, tmp_path / "before")
    write_code(fleet.code, "b")
    said = refused(*fleet.deploy())
    assert "was not kept by the export, and helper.py has changed since" in said
    assert "--before" in said
    assert changed(done(*fleet.deploy("--before", str(tmp_path / "before")))) == [("Teller", 2, 1)]
    assert fleet.told()[0] == "b"
    done("rollback", "Teller", *fleet.options)
    assert fleet.told()[0] == "a"
    # Ctrl-C in the middle leaves nothing half done.
    command = subprocess.Popen([COMMAND, *fleet.deploy()], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert command.stderr
    assert any("Teller 3: written" in line for line in command.stderr)
    command.send_signal(signal.SIGINT)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 0, said
    assert "goes on to its end" in said
    assert fleet.serving("Teller") == [["3"], ["3"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--triton", "grpc://127.0.0.1:1"], "--triton needs --repository"),
        (["--repository", "."], "go with --triton"),
        (["--triton", "grpc://127.0.0.1:1", "--repository", "nowhere"], "there is no folder nowhere"),
        (["--triton", "grpc://127.0.0.1:1", "--repository", "EMPTY", "--all"], "--server and --all are for servers"),
        (["--triton", "http://127.0.0.1:1", "--repository", "EMPTY"], "is not the gRPC address"),
        (["--triton", "grpc://127.0.0.1:1", "--repository", "EMPTY"], "has no service or model of ours"),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path: Path, options: list[str], words: str) -> None:
    given = [str(tmp_path) if each == "EMPTY" else each for each in options]
    assert words in refused("rollback", "Teller", *given)
