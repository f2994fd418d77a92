"""What waits comes back as it was, from memory and from disk, and leaves nothing behind."""

from __future__ import annotations

import gc
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.cassette import spool
from pytest_connex.cassette.spool import Spool


@given(st.lists(st.binary(max_size=9)), st.integers(1, 12), st.data())
def test_bytes_come_back_as_they_were(pieces, in_memory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "IN_MEMORY", in_memory)
        held, whole = Spool(), b""
        for piece in pieces:
            held.append(piece)
            whole += piece
            offset = data.draw(st.integers(0, len(whole)))
            length = data.draw(st.integers(0, len(whole) - offset))
            parts = list(held.parts(offset, length))
            assert b"".join(parts) == whole[offset : offset + length]
            assert all(len(part) <= in_memory for part in parts)
        assert (held.whole(), held.size) == (whole, len(whole))
        held.close()
        held.close()
        assert (held.whole(), held.size, list(held.parts(0, 0))) == (b"", 0, [])


def test_nobody_has_to_close_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = Spool()
        held.append(b"x" * (spool.IN_MEMORY + 1))
        del held
        gc.collect()
