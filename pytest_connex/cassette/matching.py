"""Telling whether what the client sends is what the recording says it sent.

JSON is compared by value: the order of keys does not matter, numbers must be written the same (``1.10`` is
not ``1.1``), and members at volatile paths may hold anything. So is JSON behind a prefix, as Socket.IO writes it
(``42["a", 1]``), JSON line by line, JSON as bytes or compressed, and whatever else the dialect can read. What is none
of these must be the same to the byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Hashable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from ..packing import unpacked
from .events import Payload

_Document: TypeAlias = Any

Decode: TypeAlias = Callable[[bytes], Any]
"""Reads a binary message; raises anything where it cannot."""

_BEHIND = re.compile(r"(?P<prefix>[A-Za-z0-9][^\[{\"\n]{0,99}?)(?P<json>[\[{].*)", re.DOTALL)


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


class Said(NamedTuple):
    """What a message says.

    Attributes:
        form: How it says so: two messages of different forms differ.
        document: What, with numbers as :class:`Number`.
    """

    form: Hashable
    document: _Document


def nothing(data: bytes) -> Any:
    """Read no binary message."""
    raise ValueError("nobody knows how to read it")


def said(payload: Payload, decode: Decode = nothing) -> Said | None:
    """Return what a message says; None where it can only be compared to the byte.

    Args:
        payload: The message.
        decode: Reads binary messages that are no JSON.
    """
    if isinstance(payload, str):
        return _said_by_text(payload)
    if (packed := unpacked(payload)) is not None:
        inner = _said_by_text(packed.text)
        return inner and Said((packed.form, inner.form), inner.document)
    try:
        return Said("decoded", _as_json(decode(payload)))
    except Exception:  # noqa: BLE001, whatever a decoder of somebody else raises for what it does not know
        return None


def _said_by_text(text: str) -> Said | None:
    if (document := read_json(text)) is not None:
        return Said("json", document[0])
    if (behind := _BEHIND.fullmatch(text)) and (document := read_json(behind["json"])) is not None:
        return Said(("behind", behind["prefix"]), document[0])
    lines = text.splitlines()
    if len(lines) < 2 or not text.startswith(("{", "[")):
        return None
    documents = [read_json(line) for line in lines if line.strip()]
    return Said("lines", [one[0] for one in documents if one]) if all(documents) else None


def _as_json(value: Any) -> _Document:
    """Return what somebody else has decoded as it would be if it had been read from JSON."""
    match value:
        case None | bool() | str() | Number():
            return value
        case Mapping():
            return {str(name): _as_json(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_as_json(inner) for inner in value]
        case bytes() | bytearray() | memoryview():
            return f"bytes {bytes(value).hex()}"
    return Number(str(value))


def differences(
    expected: Payload, actual: Payload, volatile: Collection[str] = (), decode: Decode = nothing
) -> list[Difference]:
    """Return where ``actual`` differs from ``expected``; nothing when it matches.

    Args:
        expected: The recorded message.
        actual: The message the client sent.
        volatile: Dotted paths whose values do not count. A path may name positions in arrays (``args.0.ts``) or leave
            all of them out (``args.ts``), which means every one.
        decode: Reads binary messages that are no JSON.
    """
    if expected == actual and isinstance(expected, str) == isinstance(actual, str):
        return []
    found = compared(said(expected, decode), said(actual, decode), volatile)
    return [Difference("", _show(expected), _show(actual))] if found is None else found


def compared(expected: Said | None, actual: Said | None, volatile: Collection[str]) -> list[Difference] | None:
    """Return where what two messages say differs; None where they say it in different ways, or in no known one."""
    if expected is not None and actual is not None and expected.form == actual.form:
        with suppress(RecursionError):
            return _compare(expected.document, actual.document, "", "", frozenset(volatile))
    return None


def fingerprint(payload: Payload, volatile: Collection[str] = (), decode: Decode = nothing) -> Hashable:
    """Return what is equal for two messages just when there are no :func:`differences` between them."""
    known = said(payload, decode)
    return payload if known is None else print_of(known, volatile)


def print_of(known: Said, volatile: Collection[str]) -> Hashable:
    """Return what is equal for two messages just when they say the same in the same way."""
    # Flat, because comparing and hashing what is nested has a limit of depth: each entry says how many follow.
    flat: list[Hashable] = [known.form]
    left: list[tuple[_Document, str, str]] = [(known.document, "", "")]
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
