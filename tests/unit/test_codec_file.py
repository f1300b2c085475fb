"""Files: the content crosses, the path never does."""

import base64
import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, FilePath, ValidationError

from orchestrator.codec.file import safe_name
from orchestrator.sdk.annotations import describe
from orchestrator.spec import Blob, ValueKind
from orchestrator.validators import ContentType
from tests.unit.journeys import arrive, give, sent_back


def test_a_file_arrives_in_the_calls_own_folder_with_the_senders_name_at_its_end(tmp_path: Path) -> None:
    path = arrive(Path, Blob(b"\x00\xff", "image/png", "my cat.png"), tmp_path)
    assert path.read_bytes() == b"\x00\xff"
    assert path.parent == tmp_path
    assert path.name.endswith("-my_cat.png")
    again = arrive(Path, Blob(b"", None, "my cat.png"), tmp_path)
    assert again != path


NAMES = (
    "../../etc/passwd", "..\\..\\boot.ini", "/", "a/", "~", "-rf", ".bashrc", "nul\0l", "\ud800.png",
    "a" * 300 + ".png", "\N{PILE OF POO}" * 300,
)  # fmt: skip


@given(name=st.none() | st.text(max_size=300) | st.sampled_from(NAMES))
@settings(deadline=None, max_examples=300)
def test_no_name_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str | None) -> None:
    folder = tmp_path_factory.getbasetemp() / "files"
    path = arrive(Path, Blob(b"x", None, name), folder)
    assert path.parent == folder
    assert path.is_file()
    path.unlink()


@pytest.mark.parametrize(
    ("filename", "media_type", "name"),
    [
        ("../../etc/passwd", None, "passwd"),
        ("C:\\Users\\me\\a b.txt", None, "a_b.txt"),
        (".bashrc", None, "bashrc"),
        ("-rf", None, "rf"),
        ("naïve.png", None, "naïve.png"),
        ("x" * 99 + ".tar.gz", None, "x" * 43 + ".tar.gz"),
        (None, None, "file"),
        (None, "image/png", "file.png"),
        ("..", "application/pdf", "file.pdf"),
        ("a$(b);c.png", None, "a_b_c.png"),
    ],
)
def test_what_remains_of_a_name(filename: str | None, media_type: str | None, name: str) -> None:
    assert safe_name(Blob(b"", media_type, filename)) == name


def test_a_file_comes_as_a_data_url_too(tmp_path: Path) -> None:
    sent = "data:text/plain;base64," + base64.b64encode(b"hello").decode()
    path = arrive(Path, sent, tmp_path)
    assert path.read_bytes() == b"hello"
    assert path.suffix == ".txt"


@pytest.mark.parametrize("sent", ["/etc/passwd", "file:///etc/passwd", "", 1, ["a"], {"path": "/etc/passwd"}])
def test_a_path_of_the_callers_is_never_opened(tmp_path: Path, sent: Any) -> None:
    with pytest.raises(ValidationError, match=r"send a file part, a data: URL or an http\(s\) URL"):
        arrive(Path, sent, tmp_path)


@pytest.mark.parametrize(
    "annotation", [Path | None, Annotated[Path, "x"] | None, Annotated[Path | None, ContentType("text/*")]]
)
def test_a_file_may_be_optional(tmp_path: Path, annotation: Any) -> None:
    assert arrive(annotation, None, tmp_path) is None
    assert arrive(annotation, Blob(b"x"), tmp_path).read_bytes() == b"x"
    assert give(annotation, None) is None
    assert describe(annotation, "argument").nullable


def test_the_users_own_validators_run(tmp_path: Path) -> None:
    def small(path: Path) -> Path:
        if path.stat().st_size > 2:
            raise ValueError("too large")
        return path

    annotation = Annotated[Path, AfterValidator(small)]
    assert arrive(annotation, Blob(b"ab"), tmp_path).read_bytes() == b"ab"
    with pytest.raises(ValidationError, match="too large"):
        arrive(annotation, Blob(b"abc"), tmp_path)
    assert arrive(FilePath, Blob(b"abc"), tmp_path).read_bytes() == b"abc"


def test_a_returned_file_is_sent_with_its_name_and_type(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(b"a,b\n")
    assert give(Path, path) == Blob(b"a,b\n", "text/csv", "report.csv")
    assert give(Path, str(path)).content == b"a,b\n"
    assert json.loads(sent_back(Path, path)) == "data:text/csv;base64,YSxiCg=="


@pytest.mark.parametrize(
    ("name", "markers", "media_type"),
    [
        ("a.mp3", [], "audio/mpeg"),
        ("a.unheardof", [], "application/octet-stream"),
        ("a", [], "application/octet-stream"),
        ("a", [ContentType("audio/mpeg")], "audio/mpeg"),
        ("a.bin", [ContentType("audio/mpeg")], "audio/mpeg"),
        ("a.wav", [ContentType("audio/*")], "audio/wav"),
        ("a.wav", [ContentType("audio/mpeg", "audio/wav")], "audio/wav"),
        ("a.txt", [ContentType("application/json")], "application/json"),
        ("a", [ContentType("audio/*")], "application/octet-stream"),
        ("a.tar.gz", [], "application/gzip"),
    ],
)
def test_the_media_type_of_a_result(tmp_path: Path, name: str, markers: list[Any], media_type: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    annotation: Any = Annotated[Path, *markers] if markers else Path
    assert give(annotation, path).media_type == media_type


def test_a_result_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in [
        (tmp_path / "missing.txt", "'missing.txt' cannot be read: No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "'pipe' is not a regular file"),
        (Path("a\0b"), "null"),
    ]:
        with pytest.raises(ValueError, match=message):
            give(Path, path)
    for wrong in (1, None, b"x", ["a"]):
        with pytest.raises(ValueError, match="path"):
            give(Path, wrong)


def test_a_name_that_is_not_unicode_still_crosses(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_bytes(b"x")
    assert give(Path, path) == Blob(b"x", "text/plain", "caf?.txt")


def test_a_symlink_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_bytes(b"x")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.txt")
    assert give(Path, tmp_path / "link.png") == Blob(b"x", "image/png", "link.png")


def test_what_openapi_says() -> None:
    value = describe(Annotated[Path, ContentType("audio/mpeg")], "argument")
    assert value.kind is ValueKind.FILE
    assert value.json_schema == {"type": "string", "format": "binary", "contentMediaType": "audio/mpeg"}
    assert describe(Annotated[Path, ContentType("audio/*")], "argument").json_schema == {
        "type": "string",
        "format": "binary",
    }
    assert describe(Path | None, "argument").json_schema == {
        "anyOf": [{"type": "string", "format": "binary"}, {"type": "null"}]
    }
