"""Giving a client its own values back.

What a client makes up anew in every run, an id for example, the server repeats in its answers. The recording
has the old value in both; the client that replays must find its new one. A sans-I/O core.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from ..packing import unpacked
from .events import Payload
from .matching import Decode, Number, below, nothing, said

DISTINCTIVE = 8
"""Strings of this many characters and numbers of this many digits are given back wherever they stand, over REST and
WebSocket alike; anything shorter only at the dotted path it was sent at: a 7 may be an id, a depth or a price."""

_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?[0-9][0-9.eE+-]*)|[][{}:,]', re.DOTALL)
_WRITTEN = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_FEW = 200

_Scalar: TypeAlias = str | Number


class MadeUp(NamedTuple):
    """What a client sent in the place of a recorded value.

    Attributes:
        path: Where, dotted, without positions in arrays.
    """

    path: str
    recorded: _Scalar
    sent: _Scalar


class Distinctive:
    """Values that are given back wherever they stand."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._now)

    def learn(self, made_up: MadeUp) -> None:
        """Remember a value, if it is distinctive."""
        if len(_text(made_up.recorded)) >= DISTINCTIVE:
            self._now[_text(made_up.recorded)] = _text(made_up.sent)

    def now(self, value: _Scalar) -> str | None:
        """Return what stands for a recorded value in this run; None where that is not known."""
        return self._now.get(_text(value))

    def put_into(self, data: bytes) -> bytes:
        """Return binary data with the values of this run, where they are as long: it may say how long things are."""
        for before, now in self._now.items():
            old, new = before.encode(), now.encode()
            if len(old) == len(new):
                data = data.replace(old, new)
        return data

    def concerns(self, text: str) -> bool:
        """Tell whether a text may hold one of the values."""
        known = tuple(self._now)
        return len(known) > _FEW or any(value in text for value in known)


class Echoes:
    """The values of one connection, or of one request, as recorded and as they are now.

    Args:
        paths: Dotted paths of the members that a client makes up, with positions in arrays or without.
        tape: What is known of the whole tape, by its other connections and requests.
        decode: Reads binary messages that are no JSON.
    """

    def __init__(self, paths: Collection[str], tape: Distinctive | None = None, decode: Decode = nothing) -> None:
        self._decode = decode
        self._paths = frozenset(paths)
        self._names = _quoted_names(self._paths)
        self._tape = Distinctive() if tape is None else tape
        self._here: dict[tuple[str, str], str] = {}
        self._distinctive = Distinctive()
        self._new: list[MadeUp] = []

    def __bool__(self) -> bool:
        return bool(self._here) or bool(self._tape)

    def learn(self, recorded: Payload, sent: Payload) -> None:
        """Remember what ``sent`` has in place of the values that ``recorded`` has."""
        if not self._paths or (recorded == sent and not self):
            return
        before, now = said(recorded, self._decode), said(sent, self._decode)
        if before is not None and now is not None:
            self.note(_made_up(before.document, now.document, "", "", self._paths))

    def note(self, made_up: Iterable[MadeUp]) -> None:
        """Remember values that the client made up."""
        for one in made_up:
            self._here[one.path, _text(one.recorded)] = _text(one.sent)
            self._distinctive.learn(one)
            self._new.append(one)

    def share(self) -> None:
        """Have what was learned count for the whole tape, where it is distinctive."""
        for one in self._new:
            self._tape.learn(one)
        self._new.clear()

    def apply(self, payload: Payload, whole: bool = True) -> Payload:
        """Return a recorded message of the server with the values the client sent in this run.

        Args:
            payload: The message.
            whole: Whether it is one. In a part of one, only what is distinctive is given back: places are unknown.
        """
        if isinstance(payload, str):
            return "".join(self._written(payload, whole)) if self._concerns(payload) else payload
        if (packed := unpacked(payload)) is None:
            return self._distinctive.put_into(self._tape.put_into(payload))
        text = self.apply(packed.text, whole)
        return payload if text == packed.text else packed.repacked(str(text))

    def _concerns(self, text: str) -> bool:
        if "\\" in text or any(name in text for name in self._names):
            return True
        return self._distinctive.concerns(text) or self._tape.concerns(text)

    def _written(self, text: str, whole: bool) -> Iterator[str]:
        """Yield a text in parts, every byte as it was but for the values."""
        place = _Place()
        end = 0
        for match in _TOKEN.finditer(text):
            token = match[0]
            if match.lastgroup is None:
                place.go_on(token)
                continue
            value = _value(token) if match["string"] else Number(token)
            new = self._now(place, value, whole)
            if place.is_key and isinstance(value, str):
                place.name(value)
            if new is not None and new != _text(value):
                yield text[end : match.start()]
                yield new if isinstance(value, Number) and _WRITTEN.fullmatch(new) else json.dumps(new)
                end = match.end()
        yield text[end:]

    def _now(self, place: _Place, value: _Scalar, whole: bool) -> str | None:
        """Return what stands for a value at its place in this run; None where that is not known."""
        if whole and not place.is_key and (new := self._here.get((place.path, _text(value)))) is not None:
            return new
        new = self._distinctive.now(value)
        return self._tape.now(value) if new is None else new


class _Place:
    """Where in a JSON text a token stands."""

    def __init__(self) -> None:
        self._names: list[str | None] = []
        self.is_key = False

    @property
    def path(self) -> str:
        """The dotted path of a value; positions in arrays are left out."""
        return ".".join(name for name in self._names if name is not None)

    def name(self, key: str) -> None:
        """The key of a member has come."""
        if self._names:
            self._names[-1] = key

    def go_on(self, mark: str) -> None:
        """A bracket, a colon or a comma has come."""
        match mark:
            case "{":
                self._names.append("")
            case "[":
                self._names.append(None)
            case "}" | "]" if self._names:
                self._names.pop()
        self.is_key = mark in "{," and bool(self._names) and self._names[-1] is not None


@lru_cache
def _quoted_names(paths: frozenset[str]) -> frozenset[str]:
    """Return the names of members as messages have them; kept, because every connection asks for the same."""
    return frozenset(f'"{path.rpartition(".")[2]}"' for path in paths)


def _text(value: _Scalar) -> str:
    return value.written if isinstance(value, Number) else value


def _value(token: str) -> str:
    if "\\" not in token:
        return token[1:-1]
    try:
        return str(json.loads(token))
    except ValueError:
        return token


def _made_up(old: Any, new: Any, path: str, key: str, wanted: Collection[str]) -> Iterator[MadeUp]:
    """Yield the strings and numbers that two documents have at the same place, where that is ``wanted``.

    Args:
        old: The recorded document.
        new: That of the client.
        path: Where both stand in the message.
        key: The same without positions in arrays.
        wanted: Dotted paths of either kind.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in old:
            if name in new:
                yield from _made_up(old[name], new[name], below(path, name), below(key, name), wanted)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, now) in enumerate(zip(old, new, strict=False)):
            yield from _made_up(before, now, below(path, index), key, wanted)
    elif (key in wanted or path in wanted) and isinstance(old, str | Number) and isinstance(new, str | Number):
        yield MadeUp(key, old, new)
