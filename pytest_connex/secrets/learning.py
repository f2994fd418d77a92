"""Learning secrets from the places where they stand: the session token that a server hands out, for example.

What was seen at a place whose name says that it is secret is replaced wherever it stands from then on: in the path of
a URL, in a list, in a header of another name, over REST and WebSocket alike. Each value has a placeholder of its own,
so that a client that is given the placeholder on replay asks for what was recorded.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

from .redaction import PLACEHOLDERS, Known, Redactor, placeholder_of

_SHORTEST = 8
_LONG = 16
"""Values of so many characters are learned in any case, shorter ones only where there is a digit among the letters:
the value of a ``token`` may be the name of a coin."""

_SCHEMES = frozenset({"authorization", "proxy-authorization"})


class LearningRedactor(Redactor):
    """Replaces secrets, and those that it learns.

    Args:
        values: Secret values, each with its placeholder.
        fields: Names of members and parameters whose values are secret.
        headers: Names of headers whose values are, besides the usual ones.
        fresh: Names of those whose values differ in every message, as signatures do: nobody repeats them.
        told: Told each value that is learned.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        fields: Iterable[str] = (),
        headers: Iterable[str] = (),
        fresh: Iterable[str] = (),
        told: Callable[[str], None] = lambda value: None,
    ) -> None:
        super().__init__(values, fields, headers)
        self._all = dict(values)
        self._fresh = frozenset(path.rpartition(".")[2].lower() for path in fresh)
        self._told = told
        self._learned: dict[str, str] = {}
        self._names: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def learned(self) -> int:
        """How many values it has learned by now."""
        return len(self._learned)

    def _shown(self, name: str, value: str) -> str:
        scheme, text = _plain(name, value)
        if text.startswith(PLACEHOLDERS):
            return value
        shown = placeholder_of(name)
        if name.lower() in self._fresh or not _is_worth_it(text):
            return shown
        with self._lock:
            if text not in self._learned:
                self._names[name.lower()] += 1
                number = self._names[name.lower()]
                self._learned[text] = shown if number == 1 else f"{shown}-{number}"
                self._all[text] = self._learned[text]
                self._known = Known(self._all)
                self._told(text)
            return scheme + self._learned[text]

    def _advice(self) -> str:
        if said := super()._advice():
            return said
        if not self._learned:
            return ""
        return (
            ". It may have been learned later, from a member, header or cookie whose name says that it is secret: "
            "have the hook pytest_connex_secrets return it, so that it is known from the beginning"
        )


def _plain(name: str, value: str) -> tuple[str, str]:
    """Return the scheme of an authorization, and a value as it is meant."""
    scheme, text = "", value.strip().strip('"')
    if name.lower() in _SCHEMES and " " in text:
        first, _, text = text.partition(" ")
        scheme, text = f"{first} ", text.strip()
    if "\\" in text:
        try:
            text = str(json.loads(f'"{text}"'))
        except ValueError:
            return scheme, ""
    return scheme, unquote(text) if "%" in text else text


def _is_worth_it(text: str) -> bool:
    if len(text) >= _LONG:
        return True
    return len(text) >= _SHORTEST and any(map(str.isdigit, text)) and any(map(str.isalpha, text))
