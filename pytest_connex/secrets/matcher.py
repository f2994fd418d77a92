"""Looking for many byte strings in one go (Aho and Corasick): how many there are takes no time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ahocorasick_rs import BytesAhoCorasick

_AT_ONCE = 1 << 18
"""So many bytes are looked at before anything is told: what is found in them is held in memory."""


class Matcher:
    """Finds patterns.

    Args:
        patterns: What to find. The same one may come several times; empty ones are nowhere.
    """

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self._numbered = tuple((number, pattern) for number, pattern in enumerate(patterns) if pattern)
        self._again = max((len(pattern) for _, pattern in self._numbered), default=1) - 1

    @cached_property
    def _automaton(self) -> BytesAhoCorasick:
        from ahocorasick_rs import BytesAhoCorasick, Implementation

        return BytesAhoCorasick([pattern for _, pattern in self._numbered], implementation=Implementation.DFA)

    def is_any_in(self, data: bytes) -> bool:
        """Tell whether there is any of them in ``data``."""
        return any(self._automaton.find_matches_as_indexes(part) for part in self._parts(data))

    def found(self, data: bytes) -> set[int]:
        """Return the numbers of those that are in ``data``."""
        return {
            self._numbered[found[0]][0]
            for part in self._parts(data)
            for found in self._automaton.find_matches_as_indexes(part, overlapping=True)
        }

    def places(self, data: bytes) -> Iterator[int]:
        """Yield where each of them begins."""
        start = 0
        for part in self._parts(data):
            for _, place, _ in self._automaton.find_matches_as_indexes(part, overlapping=True):
                if place < _AT_ONCE:  # the next part has what comes later
                    yield start + place
            start += _AT_ONCE

    def _parts(self, data: bytes) -> Iterator[bytes | memoryview]:
        if not self._numbered:
            return
        if len(data) <= _AT_ONCE:
            yield data
            return
        whole = memoryview(data)
        for start in range(0, len(data), _AT_ONCE):
            yield whole[start : start + _AT_ONCE + self._again]
