"""Telling whether a request, or a dial, carries the headers that it carried when it was recorded.

A client that forgets its credentials is refused by a server, and must not be answered by a recording. What they hold
is not compared: a signature or a token differs in every run. A header that is named in ``connex_match_headers`` must
hold what it held.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .exchange import Fields, values


@dataclass(frozen=True)
class HeaderRules:
    """Which headers matter.

    Attributes:
        credentials: Names of headers, in lower case, that must be there if they were there.
        same: Names of headers, in lower case, that must hold what they held.
    """

    credentials: frozenset[str] = frozenset()
    same: frozenset[str] = frozenset()

    def misses(self, recorded: Fields, actual: Fields) -> list[str]:
        """Return what differs; nothing where all that matters is there."""
        lacking = self._credentials(recorded) - self._credentials(actual)
        return [
            f"{name}: expected {_listed(expected)}, actual {_listed(found)}"
            for name in sorted(lacking | self.same)
            if (expected := values(recorded, name)) != (found := values(actual, name))
        ]

    def are_equal(self, recorded: Fields, actual: Fields) -> bool:
        """Tell whether nothing differs, and there are no more credentials than there were."""
        return self._credentials(recorded) == self._credentials(actual) and not self.misses(recorded, actual)

    def _credentials(self, headers: Fields) -> set[str]:
        return {name.lower() for name, _ in headers if name.lower() in self.credentials}


ANY_HEADERS = HeaderRules()
"""None matters."""


def _listed(held: Iterable[str]) -> str:
    return ", ".join(held) or "none"
