"""Which release of a library is installed, where an older one is known to behave in another way."""

from __future__ import annotations

from importlib.metadata import version


def installed(package: str) -> tuple[int, ...]:
    """Return the numbers of its version."""
    return tuple(int(part) for part in version(package).split(".") if part.isdecimal())
