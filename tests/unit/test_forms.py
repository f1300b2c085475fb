"""Forms as their senders write them, and as nobody should."""

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InvalidInput
from orchestrator.server.forms import FormPart, read_multipart, read_urlencoded

TYPE = 'multipart/form-data; boundary="a b"'


def part(headers: str, content: bytes) -> bytes:
    return b"--a b\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


NAMED = 'Content-Disposition: form-data; name="x"'
END = b"--a b--\r\n"


def test_a_field_and_a_file() -> None:
    body = part(NAMED, b"1\r\n2") + part(
        'content-disposition: form-data; name="f"; filename="caf\xe9 \\"1\\".png"\r\nContent-Type: Image/PNG; q=1',
        b"\x00\r\n--a",
    )
    assert read_multipart(body + END, TYPE) == [
        FormPart("x", b"1\r\n2"),
        FormPart("f", b"\x00\r\n--a", "image/png", 'café "1".png'),
    ]


def test_parts_of_one_name_stay_in_order() -> None:
    body = part(NAMED, b"1") + part(NAMED, b"2")
    assert [one.content for one in read_multipart(body + END, TYPE)] == [b"1", b"2"]


def test_the_last_line_may_lack_its_end_and_a_form_may_be_empty() -> None:
    assert len(read_multipart(part(NAMED, b"1") + b"--a b--", TYPE)) == 1
    assert read_multipart(END, TYPE) == []


def test_a_file_field_in_which_nothing_was_chosen_is_not_there() -> None:
    body = part('Content-Disposition: form-data; name="f"; filename=""\r\nContent-Type: application/octet-stream', b"")
    assert read_multipart(body + END, TYPE) == []


@pytest.mark.parametrize("kept", range(1, 70))
def test_a_form_that_is_cut_off_is_refused(kept: int) -> None:
    body = part(NAMED, b"content") + END
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_multipart(body[: -len(b"--\r\n")][:kept], TYPE)


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (END, "multipart/form-data", "no boundary"),
        (END, "multipart/form-data; boundary=", "no boundary"),
        (END, "multipart/form-data; boundary=other", "cannot be read"),
        (END, f"multipart/form-data; boundary={'x' * 300}", "cannot be read"),
        (b"", TYPE, "cut off"),
        (b"nothing of the sort", TYPE, "cannot be read"),
        (part("Content-Type: text/plain", b"1") + END, TYPE, "has no name"),
        (part("Content-Disposition: attachment", b"1") + END, TYPE, "has no name"),
        (part("X: " + "y" * 10_000, b"1") + END, TYPE, "cannot be read"),
        (part("\r\n".join(f"X-{n}: y" for n in range(500)), b"1") + END, TYPE, "cannot be read"),
        (part(NAMED + "\r\nContent-Transfer-Encoding: base64", b"MQ==") + END, TYPE, "content-transfer-encoding"),
        (part(NAMED, b"1") * 1001 + END, TYPE, "over 1000 parts"),
    ],
)
def test_a_form_that_is_none_is_refused(body: bytes, content_type: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        read_multipart(body, content_type)


@given(st.binary(max_size=300), st.sampled_from([b"", part(NAMED, b"1"), b"--a b"]))
def test_nothing_else_than_a_refusal_comes_of_any_bytes(noise: bytes, start: bytes) -> None:
    for body in (start + noise, start + noise + END):
        try:
            parts = read_multipart(body, TYPE)
        except InvalidInput:
            continue
        assert all(isinstance(one, FormPart) for one in parts)


@given(st.lists(st.tuples(st.text(), st.text()), max_size=20))
def test_fields_of_a_url_encoded_form(pairs: list[tuple[str, str]]) -> None:
    assert read_urlencoded(urlencode(pairs).encode()) == [FormPart(name, value.encode()) for name, value in pairs]


@pytest.mark.parametrize("body", [b"a=%ff", b"\xff=1", b"a=1&" * 1001])
def test_a_url_encoded_form_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_urlencoded(body)
