"""Annotations that are text until the service is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import pandas as pd
from PIL.Image import Image as PILImage

import orchestrator
from orchestrator.sdk.graph import read_service
from orchestrator.spec import ValueKind
from orchestrator.validators import ContentType, DataframeSchema, Shape


@orchestrator.service
class Forward:
    @orchestrator.api
    def image(self, picture: PILImage, /) -> Annotated[PILImage, ContentType("image/webp")]:
        return picture

    @orchestrator.api
    def files(self, one: Path, maybe: Optional[Path] = None, *more: Path) -> list[Path]:  # noqa: UP045
        return [one, *([maybe] if maybe else []), *more]

    @orchestrator.api
    def table(self, frame: Annotated[pd.DataFrame, DataframeSchema("columns")]) -> pd.DataFrame:
        return frame

    @orchestrator.api
    def arrays(self, x: Annotated[np.ndarray[Any, Any], Shape((2,))] | None) -> bytes | None:
        return None if x is None else x.tobytes()

    @orchestrator.api
    def chunks(self, sound: Annotated[bytes, ContentType("audio/*")]) -> Iterator[bytes]:
        yield sound

    @orchestrator.api(batchable=True)
    def classify(self, images: list[PILImage]) -> list[str]:
        return [str(image.mode) for image in images]


def test_forward_references_are_the_types_that_they_name() -> None:
    spec = read_service(Forward, "x:Forward").spec
    kinds = {
        api.name: ([(a.value.kind, a.value.nullable) for a in api.arguments], (api.result.kind, api.result.nullable))
        for api in spec.apis
    }
    assert kinds == {
        "image": ([(ValueKind.IMAGE, False)], (ValueKind.IMAGE, False)),
        "files": (
            [(ValueKind.FILE, False), (ValueKind.FILE, True), (ValueKind.MANY, False)],
            (ValueKind.MANY, False),
        ),
        "table": ([(ValueKind.TABLE, False)], (ValueKind.TABLE, False)),
        "arrays": ([(ValueKind.ARRAY, True)], (ValueKind.BLOB, True)),
        "chunks": ([(ValueKind.BLOB, False)], (ValueKind.BLOB, False)),
        "classify": ([(ValueKind.ROWS, False)], (ValueKind.ROWS, False)),
    }
    assert spec.api("image").result.media_types == ("image/webp",)
    assert type(spec).parse(spec.document()) == spec
