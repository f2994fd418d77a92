"""How HTTP/1.1 messages are written, so that another reader finds in them what was given."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.exchange import values
from pytest_connex.proxy.messages import Body, as_headers, head, origin_form, phrase, tokens

NAMES = st.text("abcXYZ-_.!", min_size=1)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, blacklist_characters="\x7f\x85\xa0"))


@given(st.lists(st.tuples(NAMES.map("X{}".format), VALUES)))
def test_headers_are_read_as_they_were_given(headers):
    reader = h11.Connection(h11.SERVER, 1 << 20)
    reader.receive_data(head("GET / HTTP/1.1", [("Host", "x"), *headers]))
    event = reader.next_event()
    assert as_headers(event.headers.raw_items()) == [("Host", "x"), *headers]


@given(st.lists(st.binary(min_size=1)), st.lists(st.tuples(NAMES.map("X{}".format), VALUES)), st.booleans())
def test_a_body_is_read_as_it_was_given(pieces, trailers, chunked):
    whole = b"".join(pieces)
    body = Body(None, chunked=True) if chunked else Body(len(whole))
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(whole)))
    written = b"".join([*map(body.piece, pieces), body.end(trailers)])
    reader = h11.Connection(h11.SERVER, 1 << 20)
    reader.receive_data(head("PUT / HTTP/1.1", [("Host", "x"), framing]) + written)
    read = b""
    reader.next_event()
    while isinstance(event := reader.next_event(), h11.Data):
        read += event.data
    assert read == whole
    assert as_headers(event.headers.raw_items()) == (trailers if chunked else [])
    assert body.left == (None if chunked else 0)


def test_what_goes_beyond_the_length_is_left_out_and_what_is_missing_is_known():
    body = Body(5)
    assert [body.piece(b"abc"), body.left, body.piece(b"def"), body.left] == [b"abc", 2, b"de", 0]


def test_a_piece_of_nothing_does_not_end_a_chunked_body():
    assert Body(None, chunked=True).piece(b"") == b""


@pytest.mark.parametrize(("value", "written"), [("\xe9", b"\xe9"), ("€", "€".encode()), ("\udcff", b"\xff")])
def test_what_is_not_latin_1_goes_as_utf_8(value, written):
    assert head("", [("A", value)]) == b"\r\nA: " + written + b"\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nb", "a\nb", "a\rb", "a\0b"])
def test_a_line_cannot_become_two(text):
    for first, headers in ((text, []), ("", [("A", text)]), ("", [(text, "A")])):
        with pytest.raises(ValueError, match="cannot hold a line break"):
            head(first, headers)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a?b=http://x/y", "/a?b=http://x/y"),
        ("http://host/a?b", "/a?b"),
        ("HTTPS://user@host:1?b", "/?b"),
        ("http://host", "/"),
        ("*", "*"),
        ("//a", "//a"),
        ("host:443", "host:443"),
    ],
)
def test_a_target_as_to_a_proxy_becomes_one_as_to_a_server(target, expected):
    assert origin_form(target) == expected


def test_names_are_found_in_any_case_and_lists_are_taken_apart():
    headers = [("Connection", "Upgrade, X-a"), ("cONNECTION", "close"), ("Other", "b")]
    assert values(headers, "connection") == ["Upgrade, X-a", "close"]
    assert tokens(headers, "connection") == {"upgrade", "x-a", "close"}


def test_a_status_has_its_usual_reason_or_none():
    assert (phrase(404), phrase(799)) == ("Not Found", "")
