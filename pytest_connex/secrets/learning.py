"""Learning secrets from what a server hands out: a session token, for example.

What a server sends at a place whose name says that it is secret is replaced wherever it stands from then on: in the
path of a URL, in a list, in a header of another name, over REST and WebSocket alike. Each such value has a
placeholder of its own, so that a client that is given the placeholder on replay asks for what was recorded.

What a client sends at such a place is replaced there, and not learned: it may be made anew in every run.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .members import PLACEHOLDERS
from .redaction import Known, Redactor

if TYPE_CHECKING:
    from ..protocol import Dialect

_SHORTEST = 8
_LONG = 24
_SWITCHES = 3
"""A value is learned if it looks made by chance: so often is a letter beside a digit, or it is long. The value of a
``token`` may be the name of a coin, that of a cookie the symbol of a market."""

_MOST = 200
"""So many values are learned of one tape; further ones are replaced in their place only."""

_SCHEMES = frozenset({"authorization", "proxy-authorization"})
_NUMBERED = re.compile(rf"{PLACEHOLDERS}(?P<name>.*?)(?:-[0-9]+)?")


def redactor_for(
    dialect: Dialect,
    values: Mapping[str, str],
    volatile: Iterable[str] = (),
    learned: Mapping[str, str] | None = None,
    told: Callable[[str, str], None] = lambda value, placeholder: None,
) -> LearningRedactor:
    """Return what keeps secrets out of what is recorded.

    Args:
        dialect: Says what is secret by its name, and what differs in every message.
        values: Secret values, each with its placeholder.
        volatile: Names and dotted paths of what differs in every run, besides the dialect's.
        learned: What others have learned already, each with its placeholder.
        told: Told each value that is learned, and its placeholder.
    """
    headers = (dialect.key_header, dialect.secret_header)
    fresh = (*dialect.volatile_paths, *dialect.volatile_query, *dialect.volatile_body, *volatile)
    return LearningRedactor(values, dialect.secret_fields, headers, fresh, learned, told, dialect.decode)


class LearningRedactor(Redactor):
    """Replaces secrets, and those that it learns.

    Args:
        values: Secret values, each with its placeholder.
        fields: Names of members and parameters whose values are secret.
        headers: Names of headers whose values are, besides the usual ones.
        fresh: Names of those whose values differ in every message, as signatures do: nobody repeats them.
        learned: What others have learned already, each with its placeholder.
        told: Told each value that is learned, and its placeholder.
        decode: Reads binary messages; raises anything where it cannot.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        fields: Iterable[str] = (),
        headers: Iterable[str] = (),
        fresh: Iterable[str] = (),
        learned: Mapping[str, str] | None = None,
        told: Callable[[str, str], None] = lambda value, placeholder: None,
        decode: Callable[[bytes], Any] = bytes.decode,
    ) -> None:
        self._learned = dict(learned or {})
        super().__init__({**values, **self._learned}, fields, headers, decode)
        self._all = {**values, **self._learned}
        self._fresh = frozenset(path.rpartition(".")[2].lower() for path in fresh)
        self._told = told
        matches = map(_NUMBERED.fullmatch, self._learned.values())
        self._names = Counter(match["name"] for match in matches if match)
        self._lock = threading.Lock()

    @property
    def learned(self) -> int:
        """How many values it has learned by now."""
        return len(self._learned)

    def _learn(self, name: str, value: str) -> str:
        """Remember a value, and return what takes its place."""
        shown = self._shown(name, value)
        scheme, text = _plain(name, value)
        if shown == value or name.lower() in self._fresh or not _is_worth_it(text):
            return shown
        with self._lock:
            if text not in self._learned:
                if len(self._learned) >= _MOST:
                    return shown
                number = self._names[name.lower()] + 1
                placeholder = shown if number == 1 else f"{shown}-{number}"
                known = Known({**self._all, text: placeholder})
                self._known, self._all[text], self._learned[text] = known, placeholder, placeholder
                self._names[name.lower()] = number
                self._told(text, placeholder)
            return scheme + self._learned[text]

    def _advice(self) -> str:
        if said := super()._advice():
            return said
        if not self._learned:
            return ""
        return (
            ". It may have been learned after it was written, from what the server sent at a place whose name says "
            "that it is secret: have the hook pytest_connex_secrets return it, so that it is known from the beginning"
        )


def _plain(name: str, value: str) -> tuple[str, str]:
    """Return the scheme of an authorization, and a value as it is meant; an empty one where that cannot be told."""
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
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    if len(text) < _SHORTEST or not any(map(str.isalpha, text)) or not any(map(str.isdigit, text)):
        return False
    switches = sum(one.isdigit() != two.isdigit() for one, two in pairwise(text))
    return switches >= _SWITCHES or len(text) >= _LONG
