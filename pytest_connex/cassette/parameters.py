"""Names and values as queries and forms have them: which of two are the same, and what differs.

The order of names does not matter, that of the values of one name does. A sans-I/O core.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import itemgetter
from typing import TypeAlias
from urllib.parse import parse_qsl

from .echoes import MadeUp
from .matching import Difference

Parameters: TypeAlias = tuple[tuple[str, str], ...]


def parameters(text: str, volatile: Collection[str] = ()) -> Parameters:
    """Return what a query or a form says, sorted by name; the values of ``volatile`` names are empty.

    Bytes that are no UTF-8 stay what they are, as surrogates.
    """
    read = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    return tuple(sorted(((name, "" if name in volatile else value) for name, value in read), key=itemgetter(0)))


def different(expected: Parameters, actual: Parameters) -> list[Difference]:
    """Return where two differ: by name, each value with its counterpart as far as there is one."""
    if expected == actual:
        return []
    found = []
    for name in dict.fromkeys(name for name, _ in (*expected, *actual)):
        before, now = ([repr(value) for known, value in one if known == name] for one in (expected, actual))
        longest = max(len(before), len(now))
        pairs = zip(*(values + ["nothing"] * (longest - len(values)) for values in (before, now)), strict=True)
        found += [Difference(name, left, right) for left, right in pairs if left != right]
    return found


def made_up(recorded: str, actual: str, names: Collection[str]) -> Iterator[MadeUp]:
    """Yield what a query or a form has in the place of the recorded values of some names."""
    before, now = parameters(recorded), parameters(actual)
    for name in names:
        values = ([value for known, value in one if known == name] for one in (before, now))
        for old, new in zip(*values, strict=False):
            yield MadeUp(name, old, new)
