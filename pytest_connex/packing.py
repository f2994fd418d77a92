"""Binary messages that are text inside: JSON as bytes, and JSON compressed by gzip, zlib or raw deflate.

Some exchanges send every message so. What is inside can be compared and changed like any other text; where nothing is
changed, nobody need pack it again.
"""

from __future__ import annotations

import zlib
from typing import Literal, NamedTuple, TypeAlias

_MOST = 64 << 20
"""Text that is longer is not unpacked."""

_Form: TypeAlias = Literal["bytes", "gzip", "zlib", "deflate"]
_WINDOW: dict[_Form, int] = {"gzip": zlib.MAX_WBITS | 16, "zlib": zlib.MAX_WBITS, "deflate": -zlib.MAX_WBITS}


class Packed(NamedTuple):
    """What a binary message holds.

    Attributes:
        text: The text inside.
        form: How it is packed.
        whole: Whether compressed data has an end. A stream that goes on, and is flushed after each message, has none.
    """

    text: str
    form: _Form
    whole: bool = True

    def repacked(self, text: str) -> bytes:
        """Return another text, packed in the same way."""
        data = text.encode("utf-8")
        if self.form == "bytes":
            return data
        packing = zlib.compressobj(wbits=_WINDOW[self.form])
        return packing.compress(data) + packing.flush(zlib.Z_FINISH if self.whole else zlib.Z_SYNC_FLUSH)


def unpacked(data: bytes) -> Packed | None:
    """Return what a binary message holds; None where that is no text that begins as JSON does."""
    if (text := _text(data)) is not None:
        return Packed(text, "bytes")
    for form in _forms(data):
        unpacking = zlib.decompressobj(_WINDOW[form])
        try:
            inner = unpacking.decompress(data, _MOST)
        except zlib.error:
            continue
        if unpacking.unconsumed_tail or unpacking.unused_data or (text := _text(inner)) is None:
            continue
        return Packed(text, form, unpacking.eof)
    return None


def begins_packed(data: bytes) -> bool:
    """Tell whether data begins as gzip and zlib do; raw deflate begins as anything may."""
    return _forms(data)[:1] in (["gzip"], ["zlib"])


def _forms(data: bytes) -> list[_Form]:
    """Return how data may be compressed, by its first bytes (RFC 1950, 1951, 1952)."""
    if data[:2] == b"\x1f\x8b":
        return ["gzip"]
    if len(data) < 2 or data[0] & 6 == 6:
        return []
    return ["zlib", "deflate"] if data[0] & 15 == 8 and (data[0] << 8 | data[1]) % 31 == 0 else ["deflate"]


def _text(data: bytes) -> str | None:
    """Return text that may be JSON; a number alone, as any bytes may happen to be, is not meant."""
    if data.lstrip(b" \t\r\n")[:1] not in (b"{", b"[", b'"'):
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None
