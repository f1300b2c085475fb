"""Models through a Backend: from the event loop, from threads, and what becomes of errors."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from orchestrator.engine import Backend, BackendModels, InferRequest, InferResponse
from orchestrator.engine.faults import error_of_status
from orchestrator.engine.models import of_model
from orchestrator.errors import (
    BackendUnavailable,
    CallCancelled,
    CallError,
    DeadlineExceeded,
    EndpointNotFound,
    InvalidInput,
    Overloaded,
    RequestFailed,
    ServiceFault,
)
from orchestrator.spec import DType, ModelFormat, ModelSignature, NativeModelSpec, TensorSpec

SPEC = NativeModelSpec(
    attribute="model",
    name="Any.model",
    format=ModelFormat.ONNX,
    file="model.onnx",
    signature=ModelSignature(
        inputs=(TensorSpec(name="x", dtype=DType.FP32, shape=(-1,)),),
        outputs=(TensorSpec(name="y", dtype=DType.FP32, shape=(-1,)),),
        batched=True,
    ),
    files_digest="0" * 64,
)
ROW = {"x": np.ones(1, dtype=np.float32)}


class Echo:
    """A Backend that gives back what it gets, or fails, or waits for ever."""

    def __init__(self, error: CallError | None = None, *, hangs: bool = False) -> None:
        self.error = error
        self.hangs = hangs
        self.requests: list[InferRequest] = []
        self.opened = self.closed = 0

    async def open(self) -> None:
        self.opened += 1

    async def infer(self, request: InferRequest) -> InferResponse:
        self.requests.append(request)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return InferResponse({"y": request.inputs["x"]})

    def stream(self, request: InferRequest) -> AsyncGenerator[InferResponse, None]:
        raise NotImplementedError

    async def ready(self, model: str) -> bool:
        return model == SPEC.name

    async def close(self) -> None:
        self.closed += 1


def models(backend: Backend, timeout_s: float | None = None) -> BackendModels:
    return BackendModels(backend, timeout_s=timeout_s)


def test_calls_from_the_loop_and_from_threads_reach_the_backend_with_the_limit_of_time() -> None:
    backend = Echo()

    async def main() -> None:
        some = models(backend, 7.0)
        await some.open()
        await some.open()
        here = await some.acall(SPEC, ROW, ("y",))
        there = await asyncio.to_thread(some.call, SPEC, ROW, ("y",))
        assert here["y"].tolist() == there["y"].tolist() == [1]
        assert await some.ready("Any.model")
        await some.close()
        await some.close()
        assert not await some.ready("Any.model")

    asyncio.run(main())
    assert [(r.model, r.timeout_s, tuple(r.outputs)) for r in backend.requests] == [("Any.model", 7.0, ("y",))] * 2
    assert (backend.opened, backend.closed) == (1, 1)


def test_tensors_without_an_axis_travel_with_one() -> None:
    backend = Echo()

    async def main() -> None:
        some = models(backend)
        await some.open()
        assert (await some.acall(SPEC, ROW, ("y",)))["y"].shape == (1,)

    asyncio.run(main())
    assert backend.requests[0].inputs["x"].shape == (1, 1)


def test_nobody_can_call_before_it_is_open() -> None:
    with pytest.raises(ServiceFault, match="while the service starts"):
        models(Echo()).call(SPEC, ROW, ("y",))
    with pytest.raises(ServiceFault, match="while the service starts"):
        asyncio.run(models(Echo()).acall(SPEC, ROW, ("y",)))


def test_a_call_that_would_wait_for_its_own_loop_is_refused() -> None:
    async def main() -> None:
        some = models(Echo())
        await some.open()
        with pytest.raises(ServiceFault, match=r"await self\.model\.to_async\(\.\.\.\)"):
            some.call(SPEC, ROW, ("y",))

    asyncio.run(main())


def test_threads_do_not_wait_for_a_loop_that_ends_or_has_ended() -> None:
    some = models(Echo(hangs=True))
    pool = ThreadPoolExecutor(1)

    async def main() -> "asyncio.Future[object]":
        await some.open()
        waiting = pool.submit(some.call, SPEC, ROW, ("y",))
        await asyncio.sleep(0.1)
        return waiting  # type: ignore[return-value]

    waiting = asyncio.run(main())  # it cancels what is left
    with pytest.raises(CallCancelled):
        waiting.result(5)  # type: ignore[call-arg]
    with pytest.raises(BackendUnavailable, match=r"Any\.model: the service has stopped"):
        pool.submit(some.call, SPEC, ROW, ("y",)).result(5)
    pool.shutdown()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (EndpointNotFound("there is no such model"), BackendUnavailable, "Any.model: there is no such model"),
        (BackendUnavailable("Triton cannot be reached"), BackendUnavailable, "Any.model: Triton cannot be reached"),
        (DeadlineExceeded("too late"), DeadlineExceeded, "Any.model: too late"),
        (ServiceFault("model 'Any.model' failed: x"), ServiceFault, "model 'Any.model' failed: x"),
    ],
)
def test_errors_name_the_model(error: CallError, kind: type[CallError], message: str) -> None:
    async def main() -> None:
        some = models(Echo(error))
        await some.open()
        await some.acall(SPEC, ROW, ("y",))

    with pytest.raises(CallError) as caught:
        asyncio.run(main())
    assert (type(caught.value), caught.value.message) == (kind, message)


def test_what_an_error_carries_is_kept() -> None:
    teapot = of_model(RequestFailed("no coffee", status=418, name="Teapot"), SPEC)
    assert isinstance(teapot, RequestFailed)
    assert (teapot.status, teapot.name, teapot.message) == (418, "Teapot", "Any.model: no coffee")
    later = of_model(Overloaded("full", retry_after_s=9), SPEC)
    assert isinstance(later, Overloaded)
    assert later.retry_after_s == 9
    wrong = of_model(InvalidInput.at(["x", 0], "is wrong"), SPEC)
    assert isinstance(wrong, InvalidInput)
    assert wrong.problems[0]["loc"] == ["Any.model", "x", 0]


def test_what_triton_says_to_a_worker_of_a_model_that_is_not_loaded() -> None:
    text = (
        "Model Any.model - Error when running inference: "
        "Failed for execute the inference request. Model 'Any.model' is not ready."
    )
    error = error_of_status("INTERNAL", text)
    assert (type(error), error.message) == (BackendUnavailable, "the model is not loaded")
