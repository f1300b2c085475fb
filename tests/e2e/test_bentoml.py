"""A file of BentoML's on the real Triton: template arguments, exceptions, monitoring and clients reach the worker."""

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.bentoml import SyncHTTPClient
from orchestrator.bentoml.exceptions import BentoMLException, NotFound
from tests.e2e.serving import COMMAND, Serving, eventually

pytestmark = pytest.mark.e2e
SERVICE = '''
from http import HTTPStatus

import bentoml
from bentoml.exceptions import BentoMLException, NotFound
from pydantic import BaseModel


class Args(BaseModel):
    model_name: str
    gpus: int = 0


args = bentoml.use_arguments(Args)


class Sold(BentoMLException):
    error_code = HTTPStatus.GONE


@bentoml.service(name=f"shop_{args.model_name}", resources={"gpu": args.gpus})
class Shop:
    @bentoml.on_startup
    def start(self) -> None:
        bentoml.server_context.service_name

    @bentoml.api
    def buy(self, name: str = bentoml.Field(min_length=1)) -> str:
        """Sells one thing."""
        with bentoml.monitor("sales") as mon:
            mon.log(name, name="thing", role="feature", data_type="categorical")
        if name == "hat":
            raise Sold("the hat is gone")
        if name == "secret":
            raise BentoMLException("the password is 1234")
        if name == "nothing":
            raise NotFound("there is nothing")
        service = bentoml.get_current_service()
        return f"{type(service).__name__} {args.model_name} sells {name} in worker {bentoml.server_context.worker_index}"
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    monkeypatch.setenv("ORCHESTRATOR_MONITORING", str(tmp_path / "seen"))
    return tmp_path


def test_a_file_of_bentomls_runs_in_triton(folder: Path) -> None:
    with Serving("service:Shop", "--bentoml", "--arg", "model_name=tiny", working_dir=folder) as server:
        with SyncHTTPClient(server.url) as client:
            assert client.buy("shoes") == "Shop tiny sells shoes in worker 1"
            assert client.buy.__doc__ == "Sells one thing."
            with pytest.raises(BentoMLException, match="the hat is gone") as gone:
                client.buy("hat")
            assert gone.value.error_code == 410
            with pytest.raises(NotFound, match="there is nothing"):
                client.buy("nothing")
            with pytest.raises(BentoMLException) as failed:
                client.buy("secret")
            assert failed.value.error_code == 500
            assert "1234" not in str(failed.value)
        assert eventually(lambda: "the password is 1234" in server.log, 5)
    lines = (folder / "seen" / "sales" / "data.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    assert len(lines) == 4
    assert (record["thing"], record["service"], record["worker"]) == ("shoes", "shop_tiny", 1)


def test_an_exported_repository_says_it(folder: Path) -> None:
    (folder / "args.json").write_text('{"model_name": "huge"}')
    command = [COMMAND, "export", "service:Shop", "--bentoml", "--arg-file", str(folder / "args.json")]
    command += ["--working-dir", str(folder), "--repository", str(folder / "models")]
    subprocess.run(command, check=True, capture_output=True)
    document = json.loads((folder / "models" / "shop_huge" / "1" / "service.json").read_text())
    assert (document["bentoml"], document["template"]) == (True, {"model_name": "huge"})
    assert subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 0
    assert (
        subprocess.run([*command, "--check", "--arg", "model_name=x"], check=False, capture_output=True).returncode == 1
    )


def test_a_missing_argument_is_one_line(folder: Path) -> None:
    command = [COMMAND, "config", "show", "service:Shop", "--bentoml", "--working-dir", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        f"error: {folder}/service.py:14: template argument model_name: Field required (give it with --arg model_name=...)"
    ]
