"""Two real models of an OCR package, called by sync methods in a worker, and by async ones on the front-end."""

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import orchestrator
from orchestrator import validators
from orchestrator.models import Onnx

PACKAGE = importlib.util.find_spec("rapidocr")
assert PACKAGE is not None
assert PACKAGE.origin is not None
MODELS = Path(PACKAGE.origin).parent / "models"
Lines = Annotated[np.ndarray, validators.DType("float32"), validators.Shape((-1, 3, 48, -1))]


class Models:
    direction = Onnx(MODELS / "ch_ppocr_mobile_v2.0_cls_mobile.onnx", queue_delay_us=400_000)
    letters = Onnx(MODELS / "PP-OCRv6_rec_small.onnx", max_batch_size=2)


@orchestrator.service(threads=8)
class Ocr(Models):
    @orchestrator.api
    def turned(self, lines: Lines) -> Any:
        return self.direction(lines)

    @orchestrator.api
    def read(self, lines: Lines) -> Any:
        return self.letters(lines).argmax(axis=-1)


@orchestrator.service(workers=3)
class OcrInWorkers(Models):
    @orchestrator.api
    def turned(self, lines: Lines) -> Any:
        return self.direction(lines)


@orchestrator.service
class OcrInFrontend(Models):
    @orchestrator.api
    async def turned(self, lines: Lines) -> Any:
        return await self.direction.to_async(lines)

    @orchestrator.api
    async def read(self, lines: Lines) -> Any:
        return (await self.letters.to_async(lines)).argmax(axis=-1)
