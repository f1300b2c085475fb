"""Models that a service declares, on the real Triton: called from workers by BLS, from the front-end, and served alone."""

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from orchestrator.engine import InferRequest
from orchestrator.formats import read_signature
from orchestrator.models.stores import default_store
from orchestrator.spec import ModelFormat, Tag
from orchestrator.triton import Control, TritonBackend, TritonServer
from tests import onnx_models
from tests.composed import place_composed
from tests.e2e.serving import COMMAND, Serving, command_of, eventually, gone, shm_segments
from tests.services.ocr_models import MODELS

pytestmark = pytest.mark.e2e

ROW = [[0, 0, 0, 1]]


def npy(array: NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def post(url: str, array: NDArray[Any], http: httpx2.Client | None = None) -> NDArray[Any]:
    headers = {"Content-Type": "application/x-npy"}
    answer = (http or httpx2).post(url, content=npy(array), headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json())


def reference(file: str, array: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(MODELS / file, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: array})
    return np.asarray(result)


def counts(server: Serving, model: str) -> tuple[int, int]:
    """Rows, and batches that they ran in."""

    async def ask() -> tuple[int, int]:
        async with Control(server.triton["grpc"]) as control:
            (statistics,) = await control.statistics(model)
        return statistics.inferences, statistics.executions

    return asyncio.run(ask())


def repository(server: Serving, model: str, action: str) -> None:
    answer = httpx2.post(f"http://{server.triton['http']}/v2/repository/models/{model}/{action}", json={}, timeout=60)
    assert answer.status_code == 200


@pytest.fixture(scope="module", params=["Ocr", "OcrInFrontend"])
def ocr(request: pytest.FixtureRequest) -> Iterator[Serving]:
    with Serving(f"ocr_models:{request.param}") as server:
        yield server


def test_real_models_give_what_onnxruntime_gives(ocr: Serving) -> None:
    random = np.random.default_rng(7)
    lines = random.standard_normal((5, 3, 48, 160)).astype(np.float32)
    turned = post(f"{ocr.url}/turned", lines)
    np.testing.assert_allclose(turned, reference("ch_ppocr_mobile_v2.0_cls_mobile.onnx", lines), rtol=1e-4, atol=1e-5)
    letters = post(f"{ocr.url}/read", lines)
    assert letters.tolist() == reference("PP-OCRv6_rec_small.onnx", lines).argmax(axis=-1).tolist()


def test_the_service_is_ready_when_its_models_are(ocr: Serving) -> None:
    name = "Ocr" if "Ocr.letters" in ocr.log else "OcrInFrontend"
    lines = np.zeros((1, 3, 48, 64), dtype=np.float32)
    assert httpx2.get(f"{ocr.url}/readyz", timeout=60).status_code == 200
    repository(ocr, f"{name}.letters", "unload")
    try:
        assert eventually(lambda: httpx2.get(f"{ocr.url}/readyz", timeout=60).status_code == 503, 10)
        answer = httpx2.post(
            f"{ocr.url}/read", content=npy(lines), headers={"Content-Type": "application/x-npy"}, timeout=60
        )
        assert (answer.status_code, answer.json()["detail"]) == (503, f"{name}.letters: the model is not loaded")
        post(f"{ocr.url}/turned", lines)
    finally:
        repository(ocr, f"{name}.letters", "load")
    assert httpx2.get(f"{ocr.url}/readyz", timeout=60).status_code == 200
    post(f"{ocr.url}/read", lines)


@pytest.mark.parametrize(("service", "callers"), [("Ocr", 8), ("OcrInWorkers", 6), ("OcrInFrontend", 16)])
def test_calls_of_several_requests_are_one_batch_in_the_model(service: str, callers: int) -> None:
    with (
        Serving(f"ocr_models:{service}") as server,
        ThreadPoolExecutor(callers) as pool,
        httpx2.Client(limits=httpx2.Limits(max_connections=None)) as http,
    ):
        line = np.zeros((1, 3, 48, 32), dtype=np.float32)
        before = counts(server, f"{service}.direction")
        answers = list(pool.map(lambda _: post(f"{server.url}/turned", line, http), range(callers * 4)))
        after = counts(server, f"{service}.direction")
    rows, batches = after[0] - before[0], after[1] - before[1]
    assert len(answers) == rows == callers * 4
    assert rows / batches >= 2


@pytest.mark.parametrize("service", ["Ocr", "OcrInFrontend"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_service_that_ends_while_it_calls_models(service: str, sig: int) -> None:
    stopped = False

    def call(_: int) -> None:
        lines = np.zeros((16, 3, 48, 320), dtype=np.float32)
        while not stopped:
            try:
                httpx2.post(
                    f"{server.url}/read", content=npy(lines), headers={"Content-Type": "application/x-npy"}, timeout=60
                )
            except httpx2.HTTPError:
                time.sleep(0.05)

    with Serving(f"ocr_models:{service}") as server, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, number) for number in range(4)]
        try:
            assert eventually(lambda: counts(server, f"{service}.letters")[0] > 0, 60)
            family = server.family()
            started = time.monotonic()
            server.stop(sig)
            assert gone(family, 12) == []
            assert time.monotonic() - started < 25
            assert eventually(lambda: not shm_segments(server), 5)
        finally:
            stopped = True
        for each in calls:
            each.result(30)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store with `linear` in it, version 2 of which is the newest."""
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path / "home"))
    for factor in (1.0, 2.0):
        folder = tmp_path / f"linear-{factor}"
        folder.mkdir()
        onnx_models.linear(folder / "model.onnx", factor=factor)
        signature = read_signature(folder / "model.onnx", ModelFormat.ONNX)
        default_store().save(
            Tag(name="linear", version=f"v{factor:.0f}"),
            folder,
            format=ModelFormat.ONNX,
            file="model.onnx",
            signature=signature,
        )
    yield tmp_path
    default_store().close()


def test_a_stored_model_is_a_service_by_itself(stored: Path) -> None:
    with Serving("model:linear", "--workers", "2", working_dir=stored) as server:
        url = f"{server.url}/predict"
        assert httpx2.post(url, json={"x": ROW}, timeout=60).json() == [[18, 20, 22]]
        assert post(url, np.array(ROW * 100, dtype=np.float32)).tolist() == [[18, 20, 22]] * 100
        wrong = httpx2.post(url, json={"x": [[1, 2]]}, timeout=60)
        assert (wrong.status_code, wrong.json()["errors"][0]["loc"]) == (400, ["x"])
        headers = {"Content-Type": "application/x-npy"}
        assert httpx2.post(url, content=npy(np.zeros((1, 5), np.float32)), headers=headers).status_code == 400
        assert httpx2.post(url, content=b"no npy", headers=headers).status_code == 400
        assert httpx2.post(url, json={"y": ROW}, timeout=60).status_code == 400
        for page in ("/readyz", "/docs", "/metrics"):
            assert httpx2.get(f"{server.url}{page}", timeout=60).status_code == 200
        frontends = [process for process in server.family() if "spawn_main" in " ".join(command_of(process))]
        assert len(frontends) == 2
    with Serving("model:linear:v1", working_dir=stored) as server:
        assert httpx2.post(f"{server.url}/predict", json={"x": ROW}, timeout=60).json() == [[9, 10, 11]]


def test_a_worker_of_triton_needs_no_store(stored: Path) -> None:
    (stored / "service.py").write_text(
        "import orchestrator\n"
        "from orchestrator.models import Onnx\n"
        "@orchestrator.service\n"
        "class Uses:\n"
        "    model = Onnx('linear:v1')\n"
        "    @orchestrator.api\n"
        "    def call(self) -> list[float]:\n"
        "        return self.model([[0, 0, 0, 1]])[0].tolist()\n"
    )
    folder = stored / "repository"
    command = [COMMAND, "export", "service:Uses", "--working-dir", str(stored), "--repository", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(stored / "home")

    async def load_and_call() -> list[float]:
        async with Control(triton.grpc_url) as control:
            for model in ("linear", "Uses"):
                await control.load_model(model)
        backend = TritonBackend(triton.grpc_url)
        nothing = {"no-arguments": np.ones(1, dtype=np.bool_)}
        answer = await backend.infer(InferRequest("Uses", nothing))
        await backend.close()
        result: list[float] = json.loads(answer.outputs["result"][0])
        return result

    with TritonServer() as triton:
        triton.start([folder])
        assert asyncio.run(load_and_call()) == [9, 10, 11]
    assert not (stored / "home").exists()


def test_a_running_triton_has_the_models_or_is_told_to_load_them(tmp_path: Path) -> None:
    place_composed(tmp_path)
    folder = tmp_path / "repository"
    for service in ("ComposedAsync", "ComposedBls"):
        subprocess.run(
            [COMMAND, "export", f"composed:{service}", "--working-dir", str(tmp_path), "--repository", str(folder)],
            check=True,
            capture_output=True,
        )
    with TritonServer() as triton:
        triton.start([folder])
        for service in ("ComposedAsync", "ComposedBls"):
            options = ("--triton", f"grpc://{triton.grpc_url}")
            with Serving(f"composed:{service}", *options, working_dir=tmp_path) as server:
                answer = httpx2.post(f"{server.url}/call", json={"model": "linear", "inputs": {"x": ROW}}, timeout=60)
                assert answer.json()["values"] == [9, 10, 11]


def test_a_model_that_does_not_load_ends_the_command_with_the_reason(tmp_path: Path) -> None:
    place_composed(tmp_path)
    whole = (tmp_path / "linear.onnx").read_bytes()
    # Its inputs and outputs can be read, and its one node is of no known kind.
    (tmp_path / "linear.onnx").write_bytes(whole.replace(b"MatMul", b"MaxMul"))
    outcome = subprocess.run(
        [COMMAND, "serve", "composed:ComposedAsync", "--working-dir", str(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert outcome.returncode == 4
    error = outcome.stderr[outcome.stderr.index("error:") :]
    assert "ComposedAsync.linear" in error
    assert "MaxMul" in error
    assert "Traceback" not in error


def test_reload_takes_new_models_and_new_code(tmp_path: Path) -> None:
    place_composed(tmp_path)
    arguments = {"model": "linear", "inputs": {"x": ROW}}
    with Serving("composed:ComposedAsync", "--reload", working_dir=tmp_path) as server:

        def values() -> Any:
            answer = httpx2.post(f"{server.url}/call", json=arguments, timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()["values"]

        assert values() == [9, 10, 11]
        fresh = onnx_models.linear(tmp_path / "fresh.part", factor=3.0)
        os.replace(fresh, tmp_path / "linear.onnx")
        assert eventually(lambda: values() == [27, 30, 33], 60)
        module = tmp_path / "composed.py"
        module.write_text(module.read_text().replace('{"dtype"', '{"more": 1, "dtype"'))
        assert eventually(lambda: "more" in httpx2.post(f"{server.url}/call", json=arguments, timeout=60).json(), 60)
