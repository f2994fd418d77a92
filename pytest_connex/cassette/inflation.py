"""Undoing the compression of bodies, as they come: what is compressed cannot be searched for secrets."""

from __future__ import annotations

import zlib

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""What can be undone."""


class Inflation:
    """Undoes the compression of one body.

    Args:
        encoding: One of :data:`ENCODINGS`.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._gzip = encoding != "deflate"
        self._inflating: zlib._Decompress | None = None

    def feed(self, data: bytes) -> bytes:
        """Return what a piece of the body is without compression; more may come with the next one.

        Raises:
            ValueError: It is not compressed like that.
        """
        found = []
        try:
            while data:
                if self._inflating is None:
                    self._inflating = self._begin(data)
                found.append(self._inflating.decompress(data))
                data = self._inflating.unused_data
                if not self._gzip:
                    break
                if self._inflating.eof:  # another member may follow, and zeros that fill up
                    data = data.lstrip(b"\0")
                    self._inflating = None if data else self._inflating
        except zlib.error as exc:
            raise ValueError(f"not {self.encoding}: {exc}") from exc
        return b"".join(found)

    def end(self) -> None:
        """Tell that the body has come to its end.

        Raises:
            ValueError: There must be more.
        """
        if self._inflating is not None and not self._inflating.eof:
            raise ValueError(f"not {self.encoding}: it is cut off")

    def _begin(self, data: bytes) -> zlib._Decompress:
        if self._gzip:
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        raw = data[0] & 0x0F != zlib.DEFLATED  # some leave out zlib's head, which says that method first
        return zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)


def inflated(data: bytes, encoding: str) -> bytes:
    """Return a whole body without compression.

    Raises:
        ValueError: It is not compressed like that.
    """
    inflation = Inflation(encoding)
    found = inflation.feed(data)
    inflation.end()
    return found
