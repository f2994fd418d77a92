"""Telling whether what the client sends is what the recording says it sent.

JSON is compared by value: the order of keys does not matter, numbers must be written the same (``1.10`` is
not ``1.1``), and members at volatile paths may hold anything. What is not JSON must be the same to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from .events import Payload

_Document: TypeAlias = Any


class Difference(NamedTuple):
    """One place where two messages differ; ``path`` is dotted, and empty for the message as a whole."""

    path: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.path or 'message'}: expected {self.expected}, actual {self.actual}"


class Number(NamedTuple):
    """A JSON number as it is written: ``1.10`` is not ``1.1``."""

    written: str


def differences(expected: Payload, actual: Payload, volatile: Collection[str] = ()) -> list[Difference]:
    """Return where ``actual`` differs from ``expected``; nothing when it matches.

    Args:
        expected: The recorded message.
        actual: The message the client sent.
        volatile: Dotted paths whose values do not count. A path may name positions in arrays (``args.0.ts``) or leave
            all of them out (``args.ts``), which means every one.
    """
    if expected == actual:
        return []
    if isinstance(expected, str) and isinstance(actual, str):
        left, right = read_json(expected), read_json(actual)
        if left is not None and right is not None:
            with suppress(RecursionError):
                return _compare(left[0], right[0], "", "", frozenset(volatile))
    return [Difference("", _show(expected), _show(actual))]


def fingerprint(payload: Payload, volatile: Collection[str] = ()) -> Hashable:
    """Return what is equal for two messages just when there are no :func:`differences` between them."""
    if not isinstance(payload, str) or (document := read_json(payload)) is None:
        return payload
    # Flat, because comparing and hashing what is nested has a limit of depth: each entry says how many follow.
    flat: list[Hashable] = []
    left: list[tuple[_Document, str, str]] = [(document[0], "", "")]
    while left:
        value, path, key = left.pop()
        if key in volatile or path in volatile:
            continue
        if isinstance(value, dict):
            names = tuple(sorted(value))
            flat.append((dict, names))
            left += ((value[name], below(path, name), below(key, name)) for name in names)
        elif isinstance(value, list):
            flat.append((list, len(value)))
            left += ((inner, below(path, index), key) for index, inner in enumerate(value))
        else:
            flat.append(value)
    return tuple(flat)


def read_json(text: str) -> tuple[_Document] | None:
    """Return the document that ``text`` is, its numbers as :class:`Number`.

    None when it is not JSON, or has a key twice in one object: receivers differ in what they make of that.
    """
    try:
        return (
            json.loads(
                text, parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=_unique_members
            ),
        )
    except (ValueError, RecursionError):
        return None


def _unique_members(pairs: list[tuple[str, _Document]]) -> dict[str, _Document]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _compare(
    expected: _Document, actual: _Document, path: str, key: str, volatile: frozenset[str]
) -> list[Difference]:
    if key in volatile or path in volatile or expected == actual:
        return []
    if isinstance(expected, dict) and isinstance(actual, dict):
        found = []
        for name in sorted(expected.keys() | actual.keys()):
            inner, inner_key = below(path, name), below(key, name)
            if name not in actual:
                found.append(Difference(inner, _show(expected[name]), "nothing"))
            elif name not in expected:
                found.append(Difference(inner, "nothing", _show(actual[name])))
            else:
                found += _compare(expected[name], actual[name], inner, inner_key, volatile)
        return found
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        found = []
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            found += _compare(left, right, below(path, index), key, volatile)
        return found
    return [Difference(path, _show(expected), _show(actual))]


def below(path: str, name: str | int) -> str:
    """Return the dotted path of a member, or of a position in an array."""
    return f"{path}.{name}" if path else str(name)


def _show(value: _Document, limit: int = 200) -> str:
    text = repr(value) if isinstance(value, (str, bytes)) else _written(value)
    return text if len(text) <= limit else f"{text[:limit]}... (+{len(text) - limit} characters)"


def _written(value: _Document) -> str:
    """Return a document as JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return value.written
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_written(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    return json.dumps(value)
