"""Ten thousand bodies that do not fit, on the real Triton: all are the caller's fault, and nothing stays behind."""

import io
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.e2e.serving import Serving

pytestmark = pytest.mark.e2e

BODIES = 10_000
JSON = "application/json"
Body = tuple[str, bytes, str]


def png(side: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


def multipart(name: str, content: bytes, media_type: str) -> tuple[bytes, str]:
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\nContent-Type: {media_type}\r\n\r\n'
    return head.encode() + content + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


GOOD = {
    "number": {"value": 3},
    "order": {"order": {"item": "tea", "count": 2}},
    "matrix": {"values": [[1, 2, 3]]},
    "rows": {"rows": [[1, 2, 3, 4]]},
    "words": ["a", "b"],
}
"""A body that fits each JSON route: what is made of it below does not."""


def wrong_type(rng: random.Random) -> Body:
    route, (field, good) = rng.choice([(r, f) for r, b in GOOD.items() if isinstance(b, dict) for f in b.items()])
    choices: list[object] = ["text", None, {"a": 1}, {}, [{}], [[["x"]]], [["1", {}]]]
    wrong = [choice for choice in choices if choice != good]
    return route, json.dumps({field: rng.choice(wrong)}).encode(), JSON


def truncated(rng: random.Random) -> Body:
    route, good = rng.choice(list(GOOD.items()))
    text = json.dumps(good).encode()
    return route, text[: rng.randrange(1, len(text))], JSON


def huge(rng: random.Random) -> Body:
    number = rng.choice(["1" * rng.randrange(20, 4000), "1e999", "-1e400", str(2**63), "256", "-1", "0.5"])
    return rng.choice(
        [
            ("matrix", f'{{"values": [[{number}, 1, 2]]}}'.encode(), JSON),
            ("order", f'{{"order": {{"item": "x", "count": {number}{number[:1] * 9}}}}}'.encode(), JSON),
            ("number", f'{{"value": {2**63 + rng.randrange(9)}}}'.encode(), JSON),
        ]
    )


def deep(rng: random.Random) -> Body:
    depth = rng.randrange(200, 20_000)
    return rng.choice(["words", "matrix", "order"]), b"[" * depth + b"]" * rng.choice([depth, depth - 1]), JSON


def wrong_shape(rng: random.Random) -> Body:
    rows = [[rng.randrange(9)] * rng.choice([1, 2, 5]) for _ in range(rng.randrange(1, 4))]
    return rng.choice(
        [("rows", json.dumps({"rows": rows}).encode(), JSON), ("matrix", json.dumps({"values": rows}).encode(), JSON)]
    )


def broken_image(rng: random.Random) -> Body:
    whole = png(32)
    broken = rng.choice([whole[: rng.randrange(0, len(whole) - 20)], rng.randbytes(200), b"GIF89a" + rng.randbytes(9)])
    body, media_type = multipart("image", broken, rng.choice(["image/png", "application/octet-stream"]))
    return rng.choice([("picture", body, media_type), ("picture", broken, "image/png")])


def broken_form(rng: random.Random) -> Body:
    body, media_type = multipart("image", png(), "image/png")
    cut = body[: rng.randrange(0, len(body) - 8)]
    return rng.choice([("picture", cut, media_type), ("picture", body, "multipart/form-data; boundary=other")])


def wrong_media(rng: random.Random) -> Body:
    body, media_type = multipart("file", rng.randbytes(64), rng.choice(["image/png", "text/plain", "video/mp4"]))
    return "sound", body, media_type


def wrong_npy(rng: random.Random) -> Body:
    arrays = [
        np.ones((2, 5)),
        np.array([["a"] * 3]),
        np.ones((1, 3)) * 1e9,
        np.ones((3,)),
        np.zeros((1, 3), dtype="M8[s]"),
    ]
    out = io.BytesIO()
    np.save(out, arrays[rng.randrange(len(arrays))])
    data = out.getvalue()
    return rng.choice(["matrix", "rows"]), rng.choice([data, data[: rng.randrange(0, 100)]]), "application/x-npy"


def pickled(rng: random.Random) -> Body:
    out = io.BytesIO()
    np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return rng.choice(
        [("matrix", out.getvalue(), "application/x-npy"), ("number", b"\x80\x04N.", "application/vnd.bentoml+pickle")]
    )


def noise(rng: random.Random) -> Body:
    return rng.choice(list(GOOD)), b"\xff" + rng.randbytes(rng.randrange(1, 300)), JSON


MAKERS: list[Callable[[random.Random], Body]] = [
    wrong_type, truncated, huge, deep, wrong_shape, broken_image, broken_form, wrong_media, wrong_npy, pickled, noise,
]  # fmt: skip


def test_ten_thousand_bad_bodies_are_all_refused_and_leave_nothing() -> None:
    rng = random.Random(20261121)
    temporary = Path(tempfile.gettempdir())
    with Serving("bag:Bag") as server, httpx2.Client(base_url=server.url) as http:
        assert [http.post(f"/{route}", json=body).status_code for route, body in GOOD.items()] == [200] * len(GOOD)
        body, media_type = multipart("image", png(), "image/png")
        assert http.post("/picture", content=body, headers={"content-type": media_type}).json() == [8, 8]
        before = set(temporary.glob("orchestrator-call-*"))
        memory: list[int] = []
        wrong: list[object] = []
        statuses: Counter[int] = Counter()
        for number in range(BODIES):
            maker = MAKERS[number % len(MAKERS)]
            route, content, media_type = maker(rng)
            answer = http.post(f"/{route}", content=content, headers={"content-type": media_type})
            statuses[answer.status_code] += 1
            if not 400 <= answer.status_code < 500 or "error" not in answer.json():
                wrong.append((maker.__name__, route, content[:80], answer.status_code, answer.text[:200]))
            if number in (BODIES // 4, BODIES - 1):
                memory.append(sum(process.memory_info().rss for process in server.family()))
        assert not wrong, (len(wrong), wrong[:5])
        assert memory[1] < memory[0] * 1.15, memory
        assert set(temporary.glob("orchestrator-call-*")) <= before
        assert http.get("/readyz").status_code == 200
        assert http.post("/number", json={"value": 3}).text == "3"
