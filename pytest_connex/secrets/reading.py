"""What can be read in data: all of a text, and in binary data the runs of characters."""

from __future__ import annotations

from collections.abc import Iterator

WHITE_SPACE = b" \t\r\n"
_READABLE = bytes(range(32, 127)) + b"\0\t\r\n"
"""What text is written in, also in UTF-16 where it is ASCII."""

_CONTROLS = bytes(code for code in range(1, 32) if code not in WHITE_SPACE)


class Reading:
    """Takes what can be read out of data, so that the rest need not be searched.

    Args:
        alphabet: The bytes that matter besides those of text.
        shortest: How many of them must stand together to matter.
    """

    def __init__(self, alphabet: bytes, shortest: int) -> None:
        known = {*_READABLE, *alphabet}
        self._shape = bytes(ord("x") if code in known else 32 for code in range(256))
        self._run = b"x" * shortest
        self._gap = bytes(code for code in range(256) if code not in known)[:1] or b"\n"

    def __call__(self, *pieces: bytes) -> bytes:
        """Return text as it is, and the runs of what can be read in binary data, each apart from the next one."""
        return self._gap.join(map(self._readable, pieces))

    def _readable(self, data: bytes) -> bytes:
        return data if is_text(data) else self._gap.join(parts(data, data.translate(self._shape), self._run))


def is_text(data: bytes) -> bool:
    """Tell text from binary data, which compressed data always is; UTF-16 is text too."""
    if data.isascii():
        return data.translate(None, _CONTROLS) == data
    try:
        return data.decode("utf-8").encode() == data.translate(None, _CONTROLS)
    except UnicodeDecodeError:
        return False


def parts(data: bytes, shape: bytes, long: bytes) -> Iterator[bytes]:
    """Yield those parts of ``data`` whose shape has no space, where it begins with ``long``."""
    start = shape.find(long)
    while start >= 0:
        end = shape.find(b" ", start)
        end = len(shape) if end < 0 else end
        yield data[start:end]
        start = shape.find(long, end)
