"""Text in binary messages: found, and packed again in the same way."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.packing import Packed, unpacked

TEXT = '{"ch": "market.ethusdt.depth", "tick": {"bids": [[2497.90, 2.1184]]}, "é": "鍵"}'


def deflate(data: bytes, flush: int = zlib.Z_FINISH) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush(flush)


FORMS = {
    ("bytes", True): str.encode,
    ("gzip", True): lambda text: gzip.compress(text.encode()),
    ("zlib", True): lambda text: zlib.compress(text.encode()),
    ("deflate", True): lambda text: deflate(text.encode()),
    ("deflate", False): lambda text: deflate(text.encode(), zlib.Z_SYNC_FLUSH),
}


@pytest.mark.parametrize(("form", "whole"), FORMS)
@pytest.mark.parametrize("text", [TEXT, f"[{TEXT}]", f" \n{TEXT}", '"ping"', "{"])
def test_what_is_packed_is_found_and_can_be_packed_again(form, whole, text):
    packed = unpacked(FORMS[form, whole](text))
    assert packed == Packed(text, form, whole)
    assert unpacked(packed.repacked('{"other": "é"}')) == Packed('{"other": "é"}', form, whole)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"{\xff",
        b"123",
        b"true",
        b"ping",
        gzip.compress(b"ping"),
        gzip.compress(b"{\xff"),
        gzip.compress(TEXT.encode()) + b"more",
        gzip.compress(TEXT.encode())[:-9] + b"\0" * 9,
        gzip.compress(b"[" + bytes(65 << 20)),
        b"\x1f\x8bnothing",
    ],
    ids=range(12),
)
def test_what_is_no_packed_text_is_left_alone(data):
    assert unpacked(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_are_looked_into_without_an_error(data):
    packed = unpacked(data)
    assert packed is None or unpacked(packed.repacked(packed.text)) == packed
