"""How much may be unwrapped of one piece of data, so that a small message cannot take all the memory and hours."""

from __future__ import annotations

MOST = 64 << 20
MOST_FOR_EACH = 16
"""So many bytes are unwrapped at most: these, and so many more for each byte of the data."""


class TooMuch(ValueError):
    """More comes out of the data than anybody is ready to look at."""


class Allowance:
    """How many bytes may still be unwrapped of one piece of data.

    Args:
        size: How many bytes the data has.
    """

    def __init__(self, size: int) -> None:
        self._most = self.left = MOST + MOST_FOR_EACH * size

    def of(self, data: bytes) -> bytes:
        """Return ``data``, which is unwrapped.

        Raises:
            TooMuch: It is more than may be unwrapped.
        """
        self.take(len(data))
        return data

    def take(self, size: int) -> None:
        """Have ``size`` bytes more.

        Raises:
            TooMuch: There are not so many left.
        """
        self.left -= size
        if self.left < 0:
            raise TooMuch(f"what is compressed or encoded in it unpacks to more than {self._most >> 20} MiB")
