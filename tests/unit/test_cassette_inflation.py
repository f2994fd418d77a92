"""Compressed bodies, whole and in pieces."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette.inflation import Inflation, inflated

PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": lambda body: gzip.compress(body[:3]) + gzip.compress(body[3:]) + b"\0\0",
    "deflate": zlib.compress,
    "deflate ": lambda body: zlib.compress(body, wbits=-15),
}


@given(st.binary(max_size=400), st.sampled_from(sorted(PACKERS)), st.lists(st.integers(1, 50), max_size=6))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(body, packer, sizes):
    packed = PACKERS[packer](body)
    inflation, found = Inflation(packer.strip()), b""
    rest = packed
    for size in sizes:
        found += inflation.feed(rest[:size])
        rest = rest[size:]
    found += inflation.feed(rest)
    inflation.end()
    assert found == body
    assert inflated(packed, packer.strip()) == body


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_not_compressed_or_cut_off_is_refused(encoding):
    with pytest.raises(ValueError, match=f"not {encoding}: "):
        inflated(b"\x1f plain text", encoding)
    with pytest.raises(ValueError, match=f"not {encoding}: it is cut off"):
        inflated(PACKERS[encoding](b"hello" * 100)[:-1], encoding)


def test_a_piece_is_there_as_soon_as_it_was_flushed():
    packing, inflation = zlib.compressobj(wbits=31), Inflation("gzip")
    for piece in (b"one", b"two"):
        assert inflation.feed(packing.compress(piece) + packing.flush(zlib.Z_SYNC_FLUSH)) == piece


def test_nothing_is_nothing():
    assert inflated(b"", "gzip") == b""
