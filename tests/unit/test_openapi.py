"""The OpenAPI document of bodies and answers that are not plain JSON."""

from typing import Any

import pytest

from orchestrator.sdk import read_service
from orchestrator.server.openapi import Components, operation_of
from tests.services.media import Media, Streams

BINARY = {"type": "string", "format": "binary"}
APIS = {api.name: api for service in (Media, Streams) for api in read_service(service, "m:S").spec.apis}


def operation(name: str) -> dict[str, Any]:
    return operation_of(APIS[name], Components())


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("page", ["application/json"]),
        ("size", ["multipart/form-data", "application/json", "image/*"]),
        ("song", ["multipart/form-data", "application/json", "audio/*"]),
        ("raw", ["multipart/form-data", "application/json", "application/octet-stream"]),
        ("sizes", ["multipart/form-data", "application/json"]),
        ("mixed", ["multipart/form-data", "application/json"]),
        ("double", ["application/json", "application/x-npy"]),
        (
            "frame",
            [
                "application/json",
                "text/csv",
                "application/vnd.apache.arrow.stream",
                "application/vnd.apache.arrow.file",
                "application/vnd.apache.parquet",
            ],
        ),
        ("root_text", ["text/plain"]),
        ("root_bytes", ["multipart/form-data", "application/octet-stream"]),
        ("root_file", ["multipart/form-data", "application/octet-stream"]),
        ("root_image", ["multipart/form-data", "image/*"]),
        ("root_model", ["application/json"]),
        ("root_array", ["application/json", "application/x-npy"]),
    ],
)
def test_the_bodies_of_a_request(name: str, types: list[str]) -> None:
    assert list(operation(name)["requestBody"]["content"]) == types


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("page", ["text/html"]),
        ("size", ["text/plain"]),
        ("flip", ["image/*"]),
        ("maybe", ["image/*", "application/json"]),
        ("copy", ["*/*"]),
        ("raw", ["application/octet-stream"]),
        ("pair", ["multipart/mixed"]),
        ("double", ["application/json", "application/x-npy"]),
        (
            "frame",
            ["application/json", "text/csv", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"],
        ),
        ("mixed", ["application/json"]),
        ("text", ["text/plain", "text/event-stream"]),
        ("content", ["application/octet-stream", "text/event-stream"]),
        ("numbers", ["application/x-ndjson", "text/event-stream"]),
        ("events", ["text/event-stream"]),
    ],
)
def test_the_bodies_of_an_answer(name: str, types: list[str]) -> None:
    assert list(operation(name)["responses"]["200"]["content"]) == types


def test_a_form_has_files_as_bytes_and_json_has_them_as_urls() -> None:
    content = operation("mixed")["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["properties"]["file"] == BINARY
    assert content["application/json"]["schema"]["properties"]["file"]["anyOf"][0]["format"] == "uri"
    assert content["multipart/form-data"]["schema"]["required"] == content["application/json"]["schema"]["required"]
    many = operation("sizes")["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]["files"]
    assert many == {"type": "array", "items": BINARY}
    song = operation("song")["requestBody"]["content"]["multipart/form-data"]
    assert song["encoding"] == {"audio": {"contentType": "audio/*"}}


def test_a_body_is_required_where_an_argument_is() -> None:
    assert operation("size")["requestBody"]["required"] is True
    assert operation("maybe")["requestBody"]["required"] is False
    assert operation("root_default")["requestBody"]["required"] is False


def test_the_body_of_a_root_is_the_value() -> None:
    content = operation("root_model")["requestBody"]["content"]["application/json"]
    assert list(content["schema"]["properties"]) == ["x", "label"]
    assert operation("root_text")["requestBody"]["content"]["text/plain"] == {
        "schema": {"type": "string"},
        "example": "text",
    }


def test_a_method_with_a_context_may_answer_with_any_good_status() -> None:
    assert "2XX" in operation("answer")["responses"]
    assert "2XX" not in operation("page")["responses"]
    assert "default" in operation("page")["responses"]
