"""`orchestrator serve` on the real Triton: what its users and their Triton clients see, and what it leaves behind."""

import asyncio
import json
import re
import resource
import signal
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from orchestrator.client import Client
from orchestrator.errors import InvalidInput, ServiceFault
from tests.e2e.serving import Serving, eventually, gone, shm_segments

pytestmark = pytest.mark.e2e


def counter(url: str, name: str, model: str) -> float:
    page = httpx2.get(f"{url}/metrics").text
    match = re.search(rf'^{name}\{{model="{re.escape(model)}"[^}}]*\}} (\S+)$', page, re.MULTILINE)
    return float(match[1]) if match else 0.0


def test_a_plain_triton_client_gets_the_same_numbers_over_http_and_grpc() -> None:
    rows = np.array([[1.5, -2, 3], [4, 5, 6.25]], dtype=np.float32)
    with Serving("walk:Rows") as server, Client(server.url) as client:
        ours = client.call("double", rows=rows)
        for module, address in ((tritonclient.http, server.triton["http"]), (tritonclient.grpc, server.triton["grpc"])):
            triton = module.InferenceServerClient(address)
            tensor = module.InferInput("rows", rows.shape, "FP32")
            tensor.set_data_from_numpy(rows)
            theirs = triton.infer("Rows", [tensor]).as_numpy("result")
            assert theirs.dtype == np.float32
            assert theirs.tolist() == ours == (rows * 2).tolist()
            triton.close()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_plain_triton_clients_call_async_services_many_at_once(protocol: str) -> None:
    module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[protocol]
    rows, count, text = np.array([[1.5, -2, 3]], np.float32), np.array([[8]], np.int64), np.array([[b"this"]], object)
    with Serving("walk:Steps") as server:

        def infer(api: str, name: str, value: NDArray[Any], kind: str) -> Any:
            with module.InferenceServerClient(server.triton[protocol]) as triton:
                tensor = module.InferInput(name, value.shape, kind)
                tensor.set_data_from_numpy(value)
                return triton.infer(f"Steps.{api}", [tensor]).as_numpy("result")

        assert infer("double", "rows", rows, "FP32").tolist() == (rows * 2).tolist()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda _: infer("meet", "count", count, "INT64").tolist(), range(8))) == [[[8]]] * 8
        with pytest.raises(InferenceServerException, match="not this"):
            infer("refuse", "text", text, "BYTES")


def test_more_calls_are_under_way_than_a_process_may_have_files_by_default() -> None:
    count, (soft, hard) = 1200, resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))  # the server begins with it
    try:
        server = Serving("walk:Steps")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * count)), hard))

    async def meet() -> Counter[int]:
        limits = httpx2.Limits(max_connections=count, max_keepalive_connections=count)
        async with httpx2.AsyncClient(base_url=server.url, limits=limits, timeout=60) as http:
            answers = await asyncio.gather(*(http.post("/meet", json={"count": count}) for _ in range(count)))
        return Counter(answer.status_code for answer in answers)

    with server:
        assert asyncio.run(meet()) == {200: count}
        assert "Too many open files" not in server.log


def test_batches_form_and_every_client_gets_its_own_rows() -> None:
    with Serving("walk:Rows") as server:

        def one_client(number: int) -> None:
            with Client(server.url) as client:
                for turn in range(25):
                    row = [float(number), float(turn), 1.0]
                    assert client.call("double", rows=[row]) == [[2 * value for value in row]]

        before = [counter(server.url, f"nv_inference_{what}", "Rows") for what in ("count", "exec_count")]
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(one_client, range(32)))
        after = [counter(server.url, f"nv_inference_{what}", "Rows") for what in ("count", "exec_count")]
        inferences, executions = (now - then for now, then in zip(after, before, strict=True))
        assert inferences == 32 * 25
        assert inferences > 2 * executions


def test_one_bad_row_fails_alone_in_its_batch() -> None:
    with Serving("walk:Rows") as server:

        def call(number: int) -> object:
            bad = number % 8 == 0
            with Client(server.url) as client:
                try:
                    return client.call("double", rows=[[-1e7 if bad else number, 0, 0]])
                except ServiceFault:
                    return "failed"

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(call, range(64)))
        assert answers == ["failed" if number % 8 == 0 else [[2.0 * number, 0, 0]] for number in range(64)]


def test_several_apis_share_one_worker_and_each_is_a_typed_model() -> None:
    with Serving("walk:Several") as server, Client(server.url) as client:
        assert client.call("shout", text="hé", times=2) == "HÉHÉ"
        assert client.call("move", point={"x": 1}) == {"x": 2.5, "y": 1.5}
        assert client.call("total", values=[[1, 2], [3, 4]]) == 10
        assert client.call("count") == 2
        triton = tritonclient.grpc.InferenceServerClient(server.triton["grpc"])
        text = tritonclient.grpc.InferInput("text", [1], "BYTES")
        text.set_data_from_numpy(np.array([b"abc"], dtype=object))
        assert triton.infer("Several.shout", [text]).as_numpy("result").tolist() == [b"ABC"]
        assert client.call("count") == 3
        triton.close()


def test_user_code_that_raises_is_a_500_whose_id_the_log_explains() -> None:
    with Serving("walk:Several") as server:
        answer = httpx2.post(f"{server.url}/fail", json={"text": "xyzzy"}, headers={"X-Request-ID": "case-17"})
        assert answer.status_code == 500
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "case-17"
        assert "xyzzy" not in answer.text
        explained = re.compile(r"request case-17: RuntimeError: the secret is xyzzy\nTraceback")
        assert eventually(lambda: explained.search(server.log) is not None, 5)
        assert httpx2.post(f"{server.url}/shout", json={"text": "a"}).text == "A"


def test_bad_input_is_the_callers_and_names_the_field() -> None:
    with Serving("walk:Rows") as server, Client(server.url) as client:
        for rows in ([[1, 2]], "x", [["a", 1, 2]], [], None, [[1, 2, 3], [4, 5]]):
            with pytest.raises(InvalidInput) as caught:
                client.call("double", rows=rows)
            assert caught.value.problems[0]["loc"][0] == "rows"
        assert client.call("double", rows=[[1, 2, 3]]) == [[2, 4, 6]]


def test_more_rows_than_a_batch_takes_are_split() -> None:
    rows = [[float(number), 0, 0] for number in range(1000)]
    with Serving("walk:Rows") as server, Client(server.url) as client:
        assert client.call("double", rows=rows) == [[2 * number, 0, 0] for number in range(1000)]


def test_two_servers_run_side_by_side() -> None:
    with Serving("walk:Rows") as first, Serving("walk:Several") as second:
        assert httpx2.get(f"{first.url}/readyz").status_code == httpx2.get(f"{second.url}/readyz").status_code == 200
        assert first.triton != second.triton


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(sig: signal.Signals) -> None:
    with Serving("walk:Several") as server:
        family = server.family()
        assert len(family) > 2
        assert shm_segments(server)
        assert server.stop(sig) == 0
        assert gone(family, 1) == []
    assert shm_segments(server) == []


def test_kill_9_leaves_no_process_and_no_shared_memory() -> None:
    with Serving("walk:Several") as server:
        family = server.family()
        assert shm_segments(server)
        server.stop(signal.SIGKILL)
        assert gone(family, 10) == []
    assert shm_segments(server) == []


def test_several_front_end_processes_share_port_and_counters() -> None:
    with Serving("walk:Rows", "--workers", "2") as server:
        for _ in range(40):
            # A connection each, so that both processes get some.
            body = json.dumps({"rows": [[1, 2, 3]]}).encode()
            request = urllib.request.Request(f"{server.url}/double", body, {"content-type": "application/json"})
            assert json.load(urllib.request.urlopen(request)) == [[2, 4, 6]]
        page = httpx2.get(f"{server.url}/metrics").text
        assert re.search(r'orchestrator_requests_total\{api="double",service="Rows",status="200"\} 40\.0', page)
        family = server.family()
        server.stop(signal.SIGKILL)
        assert gone(family, 10) == []


def test_calls_beside_an_exported_repository_need_no_user_code_in_the_front_end() -> None:
    with Serving("walk:Rows") as engine, Serving("walk:Rows", "--triton", f"grpc://{engine.triton['grpc']}") as server:
        assert httpx2.post(f"{server.url}/double", json={"rows": [[1, 2, 3]]}).json() == [[2, 4, 6]]
