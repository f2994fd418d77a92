"""Bytes that wait: in memory, or on disk where there are many of them."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

IN_MEMORY = 2**20
"""So many bytes are kept in memory at most, and read at once."""


class Spool:
    """Takes bytes, and gives them back; a file on disk is removed with the last reference."""

    def __init__(self) -> None:
        self.size = 0
        self._file: SpooledTemporaryFile[bytes] | None = None

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        if self._file is None:
            self._file = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  (closed by close)
        self._file.seek(self.size)
        self.size += self._file.write(data)

    def parts(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield ``length`` bytes from ``offset`` on, a part at a time."""
        while length and self._file is not None:
            self._file.seek(offset)
            part = self._file.read(min(length, IN_MEMORY))
            offset += len(part)
            length -= len(part)
            yield part

    def whole(self) -> bytes:
        """Return everything."""
        if self._file is None:
            return b""
        self._file.seek(0)
        return self._file.read()

    def close(self) -> None:
        """Forget everything."""
        self.size = 0
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        self.close()
