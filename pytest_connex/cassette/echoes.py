"""Giving a client its own values back.

What a client makes up anew in every run, an id for example, the server repeats in its answers. The recording
has the old value in both; the client that replays must find its new one. A sans-I/O core.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

from .events import Payload
from .matching import Number, read_json

DISTINCTIVE = 8
"""Strings of this many characters are given back wherever they stand; anything shorter, and every number, only
where a member has the name it was sent under: a 7 may be an id, a depth or a price."""

_STRING = r'"(?:[^"\\]|\\.)*"'
_TOKENS = re.compile(
    rf"(?P<key>{_STRING})(?P<colon>\s*:\s*)(?P<value>{_STRING}|-?[0-9][0-9.eE+-]*)|(?P<alone>{_STRING})", re.DOTALL
)
_FEW = 16

_Scalar: TypeAlias = str | Number


class Echoes:
    """The values of one connection, as recorded and as they are now.

    Args:
        paths: Dotted paths of the members that a client makes up; positions in arrays are left out.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = frozenset(paths)
        self._names = {f'"{path.rpartition(".")[2]}"' for path in paths}
        self._named: dict[tuple[str, _Scalar], str] = {}
        self._anywhere: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._named)

    def learn(self, recorded: Payload, sent: Payload) -> None:
        """Remember what ``sent`` has in place of the values that ``recorded`` has."""
        if not self._paths or not (isinstance(recorded, str) and isinstance(sent, str)):
            return
        if recorded == sent and not self._named:
            return
        before, now = read_json(recorded), read_json(sent)
        if before is None or now is None:
            return
        for path, old, new in _scalars(before[0], now[0], "", self._paths):
            token = new.written if isinstance(new, Number) else json.dumps(new)
            self._named[f'"{path.rpartition(".")[2]}"', old] = token
            if isinstance(old, str) and len(old) >= DISTINCTIVE:
                self._anywhere[old] = token

    def apply(self, payload: Payload) -> Payload:
        """Return a recorded message of the server with the values the client sent in this run."""
        if isinstance(payload, bytes) or not self._concerns(payload):
            return payload
        return _TOKENS.sub(self._replaced, payload)

    def _concerns(self, text: str) -> bool:
        if "\\" in text or any(name in text for name in self._names):
            return True
        return len(self._anywhere) > _FEW or any(value in text for value in self._anywhere)

    def _replaced(self, match: re.Match[str]) -> str:
        if match["alone"]:
            return self._anywhere.get(_value(match["alone"]), match["alone"])
        value = _value(match["value"]) if match["value"].startswith('"') else Number(match["value"])
        token = self._named.get((match["key"], value))
        if token is None and isinstance(value, str):
            token = self._anywhere.get(value)
        return match["key"] + match["colon"] + (match["value"] if token is None else token)


def _value(token: str) -> str:
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(json.loads(token))
    except ValueError:
        return token


def _scalars(old: Any, new: Any, path: str, wanted: Collection[str]) -> Iterator[tuple[str, _Scalar, _Scalar]]:
    """Yield the strings and numbers that two documents have at the same place, where its path is ``wanted``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            if name in new:
                yield from _scalars(old[name], new[name], f"{path}.{name}".lstrip("."), wanted)
    elif isinstance(old, list) and isinstance(new, list):
        for before, now in zip(old, new, strict=False):
            yield from _scalars(before, now, path, wanted)
    elif path in wanted and isinstance(old, str | Number) and isinstance(new, str | Number):
        yield path, old, new
