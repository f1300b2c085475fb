"""Versions on a running server, by the commands that an operator has."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.cli.servers import running_servers
from orchestrator.deployment import Changed, Deployer, ServiceCode, StepDone
from orchestrator.deployment import Serving as Served
from orchestrator.errors import DeploymentError
from orchestrator.sdk import load_service
from orchestrator.sdk.native import Resolved, models_of
from orchestrator.spec import Tag
from orchestrator.store import Store
from orchestrator.triton import Control, leftovers
from orchestrator.worker.snapshot import take_snapshot
from tests.e2e.graphs import NUMBERED, ROOT, SYNC_ROOT, write_graph, write_leaf
from tests.e2e.serving import COMMAND, Serving, command_of, eventually, gone, shm_segments
from tests.e2e.versions import done, folders, orchestrator, refused, save_number, write_code

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    write_code(tmp_path / "code", "a")
    return tmp_path / "code"


def told(server: Serving) -> dict[str, Any]:
    answer = httpx2.post(f"{server.url}/tell", json={"x": 0}, timeout=30)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def run_dir_of(server: Serving) -> Path:
    return next(each.socket.parent for each in running_servers() if each.status.url == server.url)


def status_of(server: Serving) -> dict[str, dict[str, Any]]:
    """The models of a server by name, as `models status` has them."""
    found = next(each for each in done("models", "status") if each["url"] == server.url)
    return {model["model"]: model for model in found["models"]}


@contextmanager
def asking(server: Serving) -> Iterator[set[float]]:
    """Asks without a pause; the versions of the model that answered, in the end. No request may fail."""
    stop, seen, failed = threading.Event(), set[float](), list[str]()

    def ask() -> None:
        with httpx2.Client(base_url=server.url, timeout=30) as http:
            while not stop.is_set():
                answer = http.post("/tell", json={"x": 0})
                if answer.status_code == 200:
                    seen.add(answer.json()["model"])
                else:
                    failed.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed[:3]


def test_a_version_goes_there_and_back_and_what_cannot_stand_in_takes_no_request(home: Path, code: Path) -> None:
    save_number(home, 1)
    with Serving("service:Teller", working_dir=code) as server:
        save_number(home, 2)
        save_number(home, 3, damaged=True)
        save_number(home, 4, width=2)
        save_number(home, 5, broken=True)
        run_dir = run_dir_of(server)
        before = folders(run_dir)
        assert status_of(server)["number"]["what"] == "number:1"
        with asking(server) as seen:
            assert "sample" in refused("models", "deploy", "number:3", "--server", server.url)
            line = refused("models", "deploy", "number:4", "--server", server.url)
            assert "input `x`: FP32[-1,1] became FP32[-1,2]; output `y`: FP32[-1,1] became FP32[-1,2]" in line
            assert "Nothing" in refused("models", "deploy", "number:5", "--server", server.url)
            assert "no version or alias '9'" in refused("models", "deploy", "number:9", "--server", server.url)
            assert "it serves number" in refused("models", "deploy", "other:1", "--server", server.url)
            assert "nothing served before number:1" in refused("models", "rollback", "number", "--server", server.url)
        assert seen == {1.0}
        assert folders(run_dir) == before, "nothing of a version that was refused stays"

        [outcome] = done("models", "deploy", "number:2", "--server", server.url)
        assert outcome["server"] == server.url
        assert [(each["model"], each["what"], each["before_what"]) for each in outcome["changed"]] == [
            ("number", "number:2", "number:1")
        ]
        assert told(server)["model"] == 2
        [again] = done("models", "deploy", "number:2", "--server", server.url)
        assert again["changed"][0]["notes"][0] == "it serves already"
        done("models", "rollback", "number", "--server", server.url)
        assert told(server)["model"] == 1
        with Store.open(home) as store:
            events = [(event.kind, event.version, event.detail) for event in store.history("number")]
        assert ("deployed", "2", "number: number:1 -> number:2") in events
        assert ("rolled back", "1", "number: number:2 -> number:1") in events
        assert sum(kind in ("deployed", "rolled back") for kind, _, _ in events) == 2


def test_aliases_and_latest_are_looked_up_when_they_are_deployed(home: Path, code: Path) -> None:
    save_number(home, 1)
    with Serving("service:Teller", working_dir=code) as server:
        for version in (2, 3):
            save_number(home, version)
        with Store.open(home) as store:
            store.set_alias("number", "production", "2")
        [outcome] = done("models", "deploy", "number:production", "--server", server.url)
        assert told(server)["model"] == 2
        assert "the next start of Teller takes number:3" in outcome["changed"][0]["notes"][0]
        [outcome] = done("models", "deploy", "number", "--server", server.url)
        assert outcome["changed"][0]["notes"] == []
        assert told(server)["model"] == 3
        for version in (2, 1):
            done("models", "rollback", "number", "--server", server.url)
            assert told(server)["model"] == version
        done("models", "deploy", "number:3", "--server", server.url)
        done("models", "rollback", "number", "--server", server.url)
        assert told(server)["model"] == 1, "a rollback leads to what served before the deployment, not to number 2"


def test_code_stays_as_it_was_deployed_whatever_happens_to_its_folder(home: Path, code: Path) -> None:
    save_number(home, 1)
    with Serving("service:Teller", working_dir=code) as server:
        write_code(code, "b")
        (code / "helper.py").write_text("raise RuntimeError('half written')")
        assert told(server) == {"code": "a", "helper": "a", "model": 1}
        assert "half written" in refused("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        write_code(code, "b")
        assert told(server)["code"] == "a"
        [outcome] = done("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        assert outcome["changed"][0]["what"] == f"version 2 of {code}"
        assert told(server) == {"code": "b", "helper": "b", "model": 1}
        (code / "service.py").write_text("broken(")
        (code / "helper.py").unlink()
        done("rollback", "Teller", "--server", server.url)
        assert told(server) == {"code": "a", "helper": "a", "model": 1}

        write_code(code, "c")
        text = (code / "service.py").read_text()
        (code / "service.py").write_text(text.replace("x: float", "x: int"))
        line = refused("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        assert "`tell`, argument `x`: number became integer" in line
        (code / "service.py").write_text(f"{text}\n    def __init__(self):\n        raise RuntimeError('no weights')\n")
        assert "no weights" in refused("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        assert told(server)["code"] == "a"
        (code / "service.py").write_text(text.replace("@orchestrator.service", "@orchestrator.service(workers=2)"))
        done("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url)
        assert told(server)["code"] == "c"
        workers = [process for process in server.family() if "Teller_0_" in " ".join(command_of(process))]
        assert len(workers) == 2


SLOW = """
import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
import orchestrator

VERSION = "{version}"

@orchestrator.service
class Slow:
    def __init__(self) -> None:
        while not Path("{loads_when}").exists():
            time.sleep(0.05)

    @orchestrator.api
    async def count(self, until: str) -> AsyncIterator[str]:
        while not Path(until).exists():
            yield VERSION
            await asyncio.sleep(0.05)

    @orchestrator.api
    async def wait(self, until: str) -> str:
        while not Path(until).exists():
            await asyncio.sleep(0.05)
        return VERSION
"""


def write_slow(folder: Path, version: str, loads_when: Path = Path("/")) -> None:
    """A service that tells its version, and ends its calls, or its start, when a file appears."""
    folder.mkdir(exist_ok=True)
    (folder / "service.py").write_text(SLOW.format(version=version, loads_when=loads_when))


def version_of(server: Serving) -> str:
    return httpx2.post(f"{server.url}/wait", json={"until": "/"}, timeout=30).text


def in_flight(server: Serving) -> dict[str, float]:
    """API -> calls that the front-end has in progress."""
    text = httpx2.get(f"{server.url}/metrics", timeout=30).text
    found = re.findall(r'_requests_in_progress\{[^}]*api="(\w+)".*?\} ([\d.]+)', text)
    return {api: float(count) for api, count in found if float(count)}


def deploying(server: Serving, folder: Path) -> subprocess.Popen[str]:
    """`orchestrator deploy` of the service, under way."""
    return subprocess.Popen(
        [COMMAND, "deploy", "service:Slow", "--working-dir", str(folder), "--server", server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_streams_and_long_calls_end_on_the_version_that_they_began_on(tmp_path: Path) -> None:
    folder, end = tmp_path / "code", tmp_path / "end"
    write_slow(folder, "a")
    with Serving("service:Slow", working_dir=folder) as server, httpx2.Client(base_url=server.url, timeout=60) as http:
        write_slow(folder, "b")
        begun = threading.Event()

        def stream() -> list[str]:
            chunks = []
            with http.stream("POST", "/count", json={"until": str(end)}) as answer:
                for chunk in answer.iter_text():
                    chunks.append(chunk)
                    begun.set()
            return chunks

        with ThreadPoolExecutor(2) as pool:
            streamed = pool.submit(stream)
            called = pool.submit(lambda: http.post("/wait", json={"until": str(end)}).text)
            try:
                assert begun.wait(30)
                assert eventually(lambda: in_flight(server) == {"count": 1.0, "wait": 1.0}, 30)
                command = deploying(server, folder)
                assert eventually(lambda: version_of(server) == "b", 60)
                assert command.poll() is None, "it waits for what the old version has begun"
            finally:
                end.touch()
            assert set("".join(streamed.result())) == {"a"}
            assert called.result() == "a"
            assert command.communicate(timeout=60)[0].endswith(
                f"version 2 of {folder}, before: version 1 of {folder}\n"
            )
            assert command.returncode == 0


def test_a_call_that_outlasts_the_patience_of_a_deployment_goes_on(tmp_path: Path) -> None:
    folder, end = tmp_path / "code", tmp_path / "end"
    write_slow(folder, "a")
    with Serving("service:Slow", working_dir=folder) as server, httpx2.Client(base_url=server.url, timeout=60) as http:
        repository = run_dir_of(server) / "repository"
        write_slow(folder, "b")
        spec = load_service("service:Slow", folder).spec
        sys.modules.pop("service")
        sys.path.remove(str(folder))
        steps: list[StepDone] = []

        async def deploy() -> list[Changed]:
            deployer = Deployer(
                Served(repository, spec),
                connect=lambda: Control(server.triton["grpc"]),
                store=lambda: pytest.fail("no model is asked for"),
                resolve=lambda *_: pytest.fail("no model is asked for"),
                drain_s=0.3,
            )
            return await deployer.deploy_code(ServiceCode(spec, folder, take_snapshot(folder)), steps.append)

        with ThreadPoolExecutor(1) as pool:
            called = pool.submit(lambda: http.post("/wait", json={"until": str(end)}).text)
            try:
                assert eventually(lambda: in_flight(server) == {"wait": 1.0}, 30)
                [changed] = asyncio.run(deploy())
                assert not changed.drained
                assert "version 1 still has calls in flight" in changed.notes[0]
                assert [step.step for step in steps] == ["stage", "load", "configure", "confirm", "drain", "prune"]
                assert version_of(server) == "b"
            finally:
                end.touch()
            assert called.result() == "a"


def test_two_deployments_at_once_come_one_after_the_other(home: Path, code: Path) -> None:
    save_number(home, 1)
    with Serving("service:Teller", working_dir=code) as server:
        for version in (2, 3):
            save_number(home, version)
        write_code(code, "b")
        commands = [
            ("models", "deploy", "number:2", "--server", server.url),
            ("models", "deploy", "number:3", "--server", server.url),
            ("deploy", "service:Teller", "--working-dir", str(code), "--server", server.url),
        ]
        with ThreadPoolExecutor(3) as pool:
            ended = list(pool.map(lambda command: orchestrator(*command, "--json"), commands))
        assert [each.returncode for each in ended] == [0, 0, 0], [each.stderr for each in ended]
        outcomes = [json.loads(each.stdout) for each in ended]
        last = told(server)
        assert last["code"] == "b"
        moves = [outcome[0]["changed"][0] for outcome in outcomes[:2]]
        assert {each["what"] for each in moves} == {"number:2", "number:3"}
        first, second = sorted(moves, key=lambda each: each["before_what"] != "number:1")
        assert second["before_what"] == first["what"], "the second one begins where the first has ended"
        assert f"number:{last['model']:.0f}" == second["what"]
        done("models", "rollback", "number", "--server", server.url)
        assert f"number:{told(server)['model']:.0f}" == first["what"]


def test_a_command_that_is_killed_half_way_leaves_a_whole_deployment(tmp_path: Path) -> None:
    folder, gate = tmp_path / "code", tmp_path / "gate"
    write_slow(folder, "a")
    with Serving("service:Slow", working_dir=folder) as server:
        write_slow(folder, "b", loads_when=gate)
        command = deploying(server, folder)
        model = run_dir_of(server) / "repository" / "Slow"
        assert eventually((model / "2").is_dir, 60)
        command.kill()
        command.communicate()
        assert version_of(server) == "a"
        gate.touch()
        assert eventually(lambda: version_of(server) == "b", 60)
        assert eventually(lambda: status_of(server)["Slow"]["states"] == {"2": "READY"}, 60)
        assert status_of(server)["Slow"]["version"] == 2
        done("rollback", "Slow", "--server", server.url)
        assert version_of(server) == "a"


def test_a_server_that_is_killed_half_way_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write_slow(folder, "a")
    with Serving("service:Slow", working_dir=folder) as server:
        write_slow(folder, "b", loads_when=tmp_path / "never")
        command = deploying(server, folder)
        run_dir, family = run_dir_of(server), server.family()
        assert eventually((run_dir / "repository" / "Slow" / "2").is_dir, 60)
        server.stop(signal.SIGKILL)
        said = command.communicate(timeout=60)[1]
        assert command.returncode == 1
        assert "went away" in said
        assert "Traceback" not in said
        assert not gone(family, 20)
        assert eventually(lambda: not run_dir.exists() and not shm_segments(server), 20)
        assert server.url not in [each.status.url for each in running_servers()]


def test_which_server_is_meant_is_asked_where_several_could_be(home: Path, code: Path, tmp_path: Path) -> None:
    save_number(home, 1)
    write_slow(tmp_path / "slow", "a")
    with (
        Serving("service:Teller", working_dir=code) as one,
        Serving("service:Teller", working_dir=code) as two,
        Serving("service:Slow", working_dir=tmp_path / "slow"),
    ):
        save_number(home, 2)
        line = refused("models", "deploy", "number:2")
        assert one.url in line
        assert two.url in line
        assert "--server" in line
        [outcome] = done("models", "deploy", "number:2", "--server", one.url)
        assert outcome["server"] == one.url
        assert (told(one)["model"], told(two)["model"]) == (2, 1)
        assert {outcome["server"] for outcome in done("models", "deploy", "number:2", "--all")} >= {one.url, two.url}
        assert (told(one)["model"], told(two)["model"]) == (2, 2)
        assert "Slow" in refused("models", "deploy", "nothing:1")
        assert "no server of yours runs at" in refused("models", "rollback", "number", "--server", "http://127.0.0.1:1")
        assert (run_dir_of(one) / "operator.sock").stat().st_mode & 0o777 == 0o600


def test_without_a_server_there_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "SHM", tmp_path)  # this machine may have servers of others' tests
    assert "no server of yours runs here" in refused("models", "rollback", "number")
    assert done("models", "status") == []


def test_code_of_a_folder_that_is_too_large_is_served_and_not_deployed(tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    write_slow(large, "a")
    write_slow(small, "b")
    for number in range(5000):
        (large / f"other{number}.py").touch()
    with Serving("service:Slow", working_dir=large) as server:
        assert f"{large} has more than 5000 Python files: its code is not kept by version" in server.log
        assert version_of(server) == "a"
        line = refused("deploy", "service:Slow", "--working-dir", str(large), "--server", server.url)
        assert "more than 5000 Python files" in line
        line = refused("deploy", "service:Slow", "--working-dir", str(small), "--server", server.url)
        assert "there would be no way back" in line
        assert version_of(server) == "a"


def test_several_front_ends_and_a_long_path_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / ("long" * 25)
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    folder = tmp_path / "code"
    write_slow(folder, "a")
    with Serving("service:Slow", "--workers", "2", working_dir=folder) as server:
        run_dir = run_dir_of(server)
        assert len(str(run_dir)) > 108, "a socket's path can be no longer"
        write_slow(folder, "b")
        done("deploy", "service:Slow", "--working-dir", str(folder), "--server", server.url)
        assert {version_of(server) for _ in range(20)} == {"b"}
    assert not run_dir.exists()


def test_a_server_that_reloads_by_itself_is_left_alone(home: Path, code: Path) -> None:
    save_number(home, 1)
    with Serving("service:Teller", "--reload", working_dir=code) as server:
        save_number(home, 2)
        assert "--reload" in refused("models", "deploy", "number:2", "--server", server.url)
        write_code(code, "b")
        assert eventually(lambda: told(server)["code"] == "b", 60)


TWICE = """
import numpy as np
import orchestrator

@orchestrator.service
class Twice:
    one = orchestrator.models.Onnx("number:latest", name="one")
    two = orchestrator.models.Onnx("number:latest", name="two")

    @orchestrator.api
    def tell(self) -> list[float]:
        zero = np.zeros((1, 1), np.float32)
        return [float(self.one(zero)[0, 0]), float(self.two(zero)[0, 0])]
"""


def test_models_of_one_order_move_together_or_not_at_all(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "service.py").write_text(TWICE)
    save_number(home, 1)
    with Serving("service:Twice", working_dir=folder) as server:
        save_number(home, 2)
        save_number(home, 3, broken=True)
        definition = load_service("service:Twice", folder)
        sys.modules.pop("service")
        sys.path.remove(str(folder))
        declared = models_of(definition.cls)

        def resolve(attribute: str, tag: Tag) -> Resolved:
            """The second model is another one than the first by the time at which it is looked up."""
            found = tag if attribute == "one" else Tag.of("number:3")
            return declared[attribute].resolve("Twice", attribute, found)

        async def deploy() -> list[Changed]:
            deployer = Deployer(
                Served(run_dir_of(server) / "repository", definition.spec),
                connect=lambda: Control(server.triton["grpc"]),
                store=lambda: Store.open(home),
                resolve=resolve,
            )
            return await deployer.deploy_model(Tag.of("number:2"), steps.append)

        steps: list[StepDone] = []
        before = folders(run_dir_of(server))
        with pytest.raises(DeploymentError, match="Nothing"):
            asyncio.run(deploy())
        assert [(step.model, step.version) for step in steps if step.step == "confirm"] == [("one", 2), ("one", 1)]
        assert httpx2.post(f"{server.url}/tell", json={}).json() == [1, 1]
        after = folders(run_dir_of(server))
        assert {name: set(entries) - {"history.json"} for name, entries in after.items()} == {
            name: set(entries) for name, entries in before.items()
        }
        [outcome] = done("models", "deploy", "number:2", "--server", server.url)
        assert [each["model"] for each in outcome["changed"]] == ["one", "two"]
        assert httpx2.post(f"{server.url}/tell", json={}).json() == [2, 2]
        done("models", "rollback", "number", "--server", server.url)
        assert httpx2.post(f"{server.url}/tell", json={}).json() == [1, 1]


FRONT = """
import numpy as np
import orchestrator

@orchestrator.service
class Front:
    number = orchestrator.models.Onnx("number:latest")

    @orchestrator.api
    async def tell(self, x: float) -> float:
        return float((await self.number.to_async(np.array([[x]], np.float32)))[0, 0]) - x
"""


def test_code_on_the_front_end_cannot_be_exchanged_but_its_models_can(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "service.py").write_text(FRONT)
    save_number(home, 1)
    with Serving("service:Front", working_dir=folder) as server:
        save_number(home, 2)
        line = refused("deploy", "service:Front", "--working-dir", str(folder), "--server", server.url)
        assert "front-end" in line
        assert "--reload" in line
        done("models", "deploy", "number:2", "--server", server.url)
        assert httpx2.post(f"{server.url}/tell", json={"x": 3}).text == "2.0"


def test_a_stored_model_as_a_service_moves_likewise(home: Path) -> None:
    save_number(home, 1)
    with Serving("model:number:latest") as server:
        save_number(home, 2)
        done("models", "deploy", "number:2", "--server", server.url)
        assert json.loads(httpx2.post(f"{server.url}/predict", json={"x": [[3.0]]}).text) == [[5.0]]


READS = """
import orchestrator

@orchestrator.service
class Reads:
    one = orchestrator.models.get("one:latest")
    two = orchestrator.models.get("two:latest")

    @orchestrator.api
    def tell(self) -> list[str]:
        return [self.one.folder.joinpath("word").read_text(), self.two.folder.joinpath("word").read_text(), "{version}"]
"""


def save_word(home: Path, name: str, version: int) -> None:
    place = home / "words" / f"{name}{version}"
    place.mkdir(parents=True)
    (place / "word").write_text(f"{name}{version}")
    with Store.open(home) as store:
        store.save(Tag(name=name, version=str(version)), place)


def test_models_that_a_service_reads_by_itself_move_one_by_one(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "service.py").write_text(READS.format(version="a"))
    for name in ("one", "two"):
        save_word(home, name, 1)
    with Serving("service:Reads", working_dir=folder) as server:

        def words() -> list[str]:
            return list(httpx2.post(f"{server.url}/tell", json={}, timeout=30).json())

        for name, version in (("one", 2), ("two", 2), ("one", 3)):
            save_word(home, name, version)
        assert words() == ["one1", "two1", "a"]
        done("models", "deploy", "one:2", "--server", server.url)
        assert words() == ["one2", "two1", "a"]
        done("models", "deploy", "two:2", "--server", server.url)
        assert words() == ["one2", "two2", "a"]
        (folder / "service.py").write_text(READS.format(version="b"))
        [outcome] = done("deploy", "service:Reads", "--working-dir", str(folder), "--server", server.url)
        assert words() == ["one2", "two2", "b"], "code moves alone, though `one:latest` is 3 by now"
        assert any("one:latest stays one:2" in note for note in outcome["changed"][0]["notes"])
        done("models", "rollback", "one", "--server", server.url)
        assert words() == ["one1", "two2", "b"], "and so does a model"
        assert "nothing served before one:1" in refused("models", "rollback", "one", "--server", server.url)
        done("models", "rollback", "two", "--server", server.url)
        assert words() == ["one1", "two1", "b"]
        [model] = status_of(server).values()
        assert model["stored"] == ["one", "two"]


def graph_told(server: Serving) -> list[str]:
    """The versions of the root and of its leaves."""
    answer = httpx2.post(f"{server.url}/tell", json={}, timeout=30)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


@contextmanager
def telling(server: Serving) -> Iterator[set[tuple[str, ...]]]:
    """Asks the graph without a pause; what answered, in the end. No request may fail."""
    stop, seen, failed = threading.Event(), set[tuple[str, ...]](), list[str]()

    def ask() -> None:
        with httpx2.Client(base_url=server.url, timeout=30) as http:
            while not stop.is_set():
                answer = http.post("/tell", json={})
                if answer.status_code == 200:
                    seen.add(tuple(answer.json()))
                else:
                    failed.append(answer.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed[:3]


@pytest.mark.parametrize("root", [ROOT, SYNC_ROOT], ids=["root on the front-end", "root in Triton"])
def test_a_leaf_of_a_graph_is_deployed_and_rolled_back_by_itself(tmp_path: Path, root: str) -> None:
    folder = tmp_path / "code"
    write_graph(folder, "a", root=root)
    with Serving("root:Root", working_dir=folder) as server:
        where = ("--working-dir", str(folder), "--server", server.url)
        write_graph(folder, "b", root=root)
        with telling(server) as seen:
            [outcome] = done("deploy", "left:Left", *where)
        assert [(each["model"], each["notes"]) for each in outcome["changed"]] == [("Left", [])]
        assert seen == {("a", "a", "a"), ("a", "b", "a")}
        left = folder / "left.py"
        left.write_text(left.read_text().replace("def shout(self) -> str", "def shout(self) -> int"))
        line = refused("deploy", "left:Left", *where)
        assert (
            "the new Left cannot stand in for the old, which Root calls: `shout`, result: text became integer" in line
        )
        for concurrent in ("async def shout", "def shout"):
            write_leaf(folder, "Left", "c")
            changed = left.read_text().replace("def shout", concurrent)
            if concurrent == "def shout":
                changed = changed.replace("@orchestrator.service", "@orchestrator.service(threads=2)")
            left.write_text(changed)
            line = refused("deploy", "left:Left", *where)
            assert "its Triton model: one call at a time became concurrent (async, streams or threads)" in line
        assert "no service 'Third' is served here" in deploy_third(folder, server)
        with telling(server) as seen:
            done("rollback", "Left", "--server", server.url)
        assert seen == {("a", "b", "a"), ("a", "a", "a")}
        assert "nothing served before" in refused("rollback", "Right", "--server", server.url)
        workers = {"Left", "Right"} | ({"Root"} if root == SYNC_ROOT else set())
        assert set(status_of(server)) == workers


def deploy_third(folder: Path, server: Serving) -> str:
    write_leaf(folder, "Third", "c")
    return refused("deploy", "third:Third", "--working-dir", str(folder), "--server", server.url)


def test_a_root_in_triton_is_deployed_alone_and_it_is_said_what_stays_behind(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write_graph(folder, "a", root=SYNC_ROOT)
    with Serving("root:Root", working_dir=folder) as server:
        where = ("--working-dir", str(folder), "--server", server.url)
        root, left = folder / "root.py", folder / "left.py"
        root.write_text(SYNC_ROOT.format(version="b"))
        [outcome] = done("deploy", "root:Root", *where)
        assert outcome["changed"][0]["notes"] == [], "only its own module has changed"
        assert graph_told(server) == ["b", "a", "a"]

        write_graph(folder, "c", root=SYNC_ROOT)
        [outcome] = done("deploy", "root:Root", *where)
        behind = "{} goes on with its code of before ({} changed); `orchestrator deploy` moves it"
        assert outcome["changed"][0]["notes"] == [behind.format("Left", "left.py"), behind.format("Right", "right.py")]
        assert graph_told(server) == ["c", "a", "a"]
        done("deploy", "right:Right", *where)
        assert graph_told(server) == ["c", "a", "c"]

        left.write_text(left.read_text().replace("def shout(self)", "def shout(self, loud: bool = True)"))
        root.write_text(SYNC_ROOT.format(version="d"))
        line = refused("deploy", "root:Root", *where)
        assert "the new Root does not go together with what is served: `left`, Left: `shout`, argument `loud`" in line
        write_leaf(folder, "Third", "d")
        with_third = SYNC_ROOT.replace("from left", "from third import Third\nfrom left")
        root.write_text(
            with_third.replace("right =", "third = orchestrator.depends(Third)\n    right =").format(version="d")
        )
        write_leaf(folder, "Left", "c")
        assert "`third` is Third, which is not served here" in refused("deploy", "root:Root", *where)

        one_less = SYNC_ROOT.replace("    right = orchestrator.depends(Right)\n", "").replace(", self.right.tell()", "")
        root.write_text(one_less.format(version="e"))
        done("deploy", "root:Root", *where)
        assert graph_told(server) == ["e", "a"]
        done("rollback", "Root", "--server", server.url)
        assert graph_told(server) == ["c", "a", "c"]
        done("rollback", "Root", "--server", server.url)
        done("rollback", "Right", "--server", server.url)
        assert graph_told(server) == ["b", "a", "a"]


def test_a_root_on_the_front_end_stays_and_its_leaves_and_their_models_move(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "code"
    write_graph(folder, "a")
    (folder / "left.py").write_text(NUMBERED.format(version="a"))
    save_number(home, 1)
    with Serving("root:Root", working_dir=folder) as server:
        save_number(home, 2)
        line = refused("deploy", "root:Root", "--working-dir", str(folder), "--server", server.url)
        assert "Root runs on the front-end" in line
        with telling(server) as seen:
            [outcome] = done("models", "deploy", "number:2", "--server", server.url)
        assert seen == {("a", "a 1", "a"), ("a", "a 2", "a")}
        assert [each["model"] for each in outcome["changed"]] == ["number"]
        (folder / "left.py").write_text(NUMBERED.format(version="b"))
        done("deploy", "left:Left", "--working-dir", str(folder), "--server", server.url)
        assert graph_told(server) == ["a", "b 2", "a"]
        done("models", "rollback", "number", "--server", server.url)
        done("rollback", "Left", "--server", server.url)
        assert graph_told(server) == ["a", "a 1", "a"]
        assert set(status_of(server)) == {"number", "Left", "Right"}
        [status] = [each for each in done("models", "status") if each["url"] == server.url]
        assert (status["service"], status["others"]) == ("Root", ["Left", "Right"])
        assert "Root, Left, Right (process" in orchestrator("models", "status").stdout


SHARED = """
import numpy as np
import orchestrator

ZERO = np.zeros((1, 1), np.float32)

@orchestrator.service
class Leaf:
    other = orchestrator.models.Onnx("number:latest", name="other")
    mine = orchestrator.models.Onnx("number:latest")

    @orchestrator.api
    def tell(self) -> str:
        return f"{self.mine(ZERO)[0, 0]:.0f} {self.other(ZERO)[0, 0]:.0f}"

@orchestrator.service
class Middle:
    leaf = orchestrator.depends(Leaf)
    other = orchestrator.models.Onnx("number:latest")

    @orchestrator.api
    async def tell(self) -> list[str]:
        return [f"{(await self.other.to_async(ZERO))[0, 0]:.0f}", await self.leaf.to_async.tell()]

@orchestrator.service
class Root:
    middle = orchestrator.depends(Middle)

    @orchestrator.api
    def tell(self) -> list[str]:
        return ["VERSION", *self.middle.to_sync.tell()]
"""


def test_a_model_that_services_share_moves_once_and_a_composite_in_triton_is_deployed_like_a_leaf(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    module = folder / "service.py"
    module.write_text(SHARED)
    save_number(home, 1)
    with Serving("service:Root", working_dir=folder) as server:
        save_number(home, 2)
        assert graph_told(server) == ["VERSION", "1", "1 1"]
        [outcome] = done("models", "deploy", "number:2", "--server", server.url)
        assert [each["model"] for each in outcome["changed"]] == ["other", "number"]
        assert graph_told(server) == ["VERSION", "2", "2 2"]
        module.write_text(SHARED.replace('[f"{(await', '[f"middle {(await'))
        [outcome] = done("deploy", "service:Middle", "--working-dir", str(folder), "--server", server.url)
        assert graph_told(server) == ["VERSION", "middle 2", "2 2"]
        assert "Leaf goes on with its code of before (service.py changed)" in outcome["changed"][0]["notes"][0]
        done("models", "rollback", "number", "--server", server.url)
        assert graph_told(server) == ["VERSION", "middle 1", "1 1"]
