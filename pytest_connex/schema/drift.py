"""What has changed between two schemas, from the view of those who read the messages.

A sans-I/O core. A change is breaking when a reader can no longer rely on something: a member is gone or may be
missing, has another type, may be null, holds a word outside its enumeration, or is written another way. Everything
else that differs is an addition, or a narrowing that no reader notices.

Schemas are compared as :mod:`~pytest_connex.schema.infer` writes them: ``type``, ``anyOf``, ``properties``,
``required``, ``items``, ``prefixItems``, ``enum``, ``format``, and the keywords that begin with ``x-``. Others, such
as ``$ref``, are not looked into.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..model import JSON

Kind: TypeAlias = Literal[
    "class",
    "gone",
    "added",
    "optional",
    "required",
    "type",
    "nullable",
    "enumeration",
    "format",
    "precision",
    "sign",
    "length",
    "status",
    "header",
    "order",
]
"""What has changed.

``class``: there is a class of messages more, or less. ``gone``, ``added``: a member. ``optional``, ``required``: it
may be missing now, or no longer. ``type``: what it holds, also a string for a number. ``nullable``: it may be null
now, or no longer. ``enumeration``: which words it may be. ``format``: how it is written, exponents among it.
``precision``: how many decimals it has. ``sign``: it may be negative now. ``length``: how many values a row has.
``status``: how a request or a dial is answered, or a connection closed. ``header``: a header of an answer. ``order``:
which classes come after a request, and in which order.
"""


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        message: The class of the messages.
        path: Where in a message, for example ``bids[][0]``; empty for the message itself.
        kind: What has changed.
        old: What it was; empty where there was nothing.
        new: What it is; empty where there is nothing.
        breaking: Whether a reader can no longer rely on something.
    """

    message: str
    path: str
    kind: Kind
    old: str
    new: str
    breaking: bool

    def __str__(self) -> str:
        place = f"{self.message}: {self.path}" if self.path else self.message
        return f"{place}: {self.kind}: {self.old or 'nothing'} -> {self.new or 'nothing'}"


def compare_all(old: Mapping[str, JSON], new: Mapping[str, JSON], sampled: bool = False) -> list[Change]:
    """Return what has changed between two sets of schemas, by their classes.

    Args:
        old: What readers rely on.
        new: What there is now.
        sampled: Whether ``new`` was inferred, with ``slight``, from a few messages only: see :func:`compare`. Then a
            class that is not among them is no change.
    """
    changes: list[Change] = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            changes += [] if sampled else [Change(name, "", "class", "a class of messages", "", breaking=True)]
        elif name not in old:
            changes.append(Change(name, "", "class", "", "a class of messages", breaking=False))
        else:
            changes += compare(name, old[name], new[name], sampled)
    return changes


def compare(message: str, old: JSON, new: JSON, sampled: bool = False) -> list[Change]:
    """Return what has changed between two schemas of a class.

    Args:
        message: The class.
        old: What readers rely on.
        new: What there is now.
        sampled: Whether ``new`` was inferred, with ``slight``, from a few messages only. Then what did not happen to
            be among them is no change: members that are not always there, types, words, decimals and items.
    """
    return list(_Comparison(message, sampled).places("", old, new))


class _Comparison:
    """Compares two schemas of one class."""

    def __init__(self, message: str, sampled: bool) -> None:
        self._message = message
        self._sampled = sampled

    def places(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        """Yield what has changed in one place and below."""
        before, after = _by_type(old), _by_type(new)
        if not after or not before:
            if before.keys() != after.keys() and not self._sampled:
                yield self._change(path, "type", _listed(before), _listed(after), breaking=not after)
            return
        yield from self._types(path, before, after)
        for name in sorted(before.keys() & after.keys()):
            left, right = before[name], after[name]
            if name == "object":
                yield from self._members(path, left, right)
            elif name == "array":
                yield from self._items(path, left, right)
            elif name in ("string", "number"):
                yield from self._values(path, left, right)

    def _change(self, path: str, kind: Kind, old: str, new: str, *, breaking: bool) -> Change:
        return Change(self._message, path, kind, old, new, breaking)

    def _types(self, path: str, before: dict[str, JSON], after: dict[str, JSON]) -> Iterator[Change]:
        if "null" in after and "null" not in before:
            yield self._change(path, "nullable", "never null", "null", breaking=True)
        elif "null" in before and "null" not in after and not self._sampled:
            yield self._change(path, "nullable", "null", "never null", breaking=False)
        old, new = _names(before), _names(after)
        if new - old - ({"integer"} if "number" in old else set()):
            yield self._change(path, "type", _joined(old), _joined(new), breaking=True)
        elif old != new and not self._sampled:
            yield self._change(path, "type", _joined(old), _joined(new), breaking=False)

    def _members(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        before, after = old.get("properties", {}), new.get("properties", {})
        relied, given = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else name
            if name not in after:
                if name in relied or not self._sampled:
                    yield self._change(inner, "gone", _summary(before[name]), "", breaking=True)
                continue
            if name not in before:
                yield self._change(inner, "added", "", _summary(after[name]), breaking=False)
                continue
            if name in relied and name not in given:
                yield self._change(inner, "optional", "always there", "sometimes there", breaking=True)
            elif name in given and name not in relied and not self._sampled:
                yield self._change(inner, "required", "sometimes there", "always there", breaking=False)
            yield from self.places(inner, before[name], after[name])

    def _items(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        before, after = old.get("prefixItems"), new.get("prefixItems")
        if before is None and after is None:
            yield from self._every_item(path, old, [new["items"]] if "items" in new else [])
        elif before is None:
            yield from self._every_item(path, old, after)
        elif after is None:
            yield self._change(path, "length", f"{len(before)} values", "any number of values", breaking=True)
        elif len(before) != len(after):
            yield self._change(path, "length", f"{len(before)} values", f"{len(after)} values", breaking=True)
        else:
            for index, (left, right) in enumerate(zip(before, after, strict=True)):
                yield from self.places(f"{path}[{index}]", left, right)

    def _every_item(self, path: str, old: JSON, after: list[JSON]) -> Iterator[Change]:
        if "items" not in old:
            if after:
                yield self._change(f"{path}[]", "added", "", _summary(after[0]), breaking=False)
            return
        for item in after:
            yield from self.places(f"{path}[]", old["items"], item)

    def _values(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        yield from self._words(path, old, new)
        yield from self._format(path, old, new)
        yield from self._scale(path, old, new)
        if _never_negative(old) and new.get("x-negative") is True:
            yield self._change(path, "sign", "never negative", "negative", breaking=True)

    def _words(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        before, after = old.get("enum"), new.get("enum")
        if before is None:
            if after is not None and not self._sampled:
                yield self._change(path, "enumeration", "any", _joined(after), breaking=False)
        elif after is None:
            yield self._change(path, "enumeration", _joined(before), "any", breaking=True)
        elif beyond := [word for word in after if word not in before]:
            yield self._change(path, "enumeration", _joined(before), _joined(beyond), breaking=True)
        elif len(after) < len(before) and not self._sampled:
            yield self._change(path, "enumeration", _joined(before), _joined(after), breaking=False)

    def _format(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        before, after = old.get("format"), new.get("format")
        narrower = before is None or (before, after) == ("decimal", "epoch-milliseconds")
        if before != after and not (narrower and self._sampled):
            yield self._change(path, "format", str(before or "any"), str(after or "any"), breaking=not narrower)
            return
        decimals = before == "decimal" or old.get("type") == "number"
        if decimals and new.get("x-exponent") is True and old.get("x-exponent") is not True:
            yield self._change(path, "format", "no exponent", "exponents", breaking=True)

    def _scale(self, path: str, old: JSON, new: JSON) -> Iterator[Change]:
        before, after = _scales(old), _scales(new)
        if before is None or after is None or before == after:
            return
        fixed = isinstance(old["x-scale"], int)
        if self._sampled and not fixed:
            return
        beyond = after[1] > before[1] or (fixed and after[0] < before[0])
        if beyond or not self._sampled:
            yield self._change(path, "precision", _decimals(before), _decimals(after), breaking=beyond)


def _by_type(schema: JSON) -> dict[str, JSON]:
    """Return the alternatives of a schema by their types; integers are found under ``number``."""
    if not isinstance(schema, dict):
        return {}
    found: dict[str, JSON] = {}
    for alternative in schema.get("anyOf", ()):
        found |= _by_type(alternative)
    named = schema.get("type", ())
    for name in [named] if isinstance(named, str) else named:
        kind = "number" if name == "integer" else name
        if kind not in found or name == "number":
            found[kind] = {**schema, "type": name}
    return found


def _names(by_type: Mapping[str, JSON]) -> set[str]:
    return {alternative["type"] for alternative in by_type.values()} - {"null"}


def _listed(by_type: Mapping[str, JSON]) -> str:
    return _joined(alternative["type"] for alternative in by_type.values()) or "anything"


def _summary(schema: JSON) -> str:
    if isinstance(schema, dict) and isinstance(schema.get("format"), str):
        return f"{schema.get('type')} ({schema['format']})"
    return _listed(_by_type(schema))


def _joined(words: object) -> str:
    return " or ".join(sorted(map(str, words)))  # type: ignore[call-overload]


def _never_negative(schema: JSON) -> bool:
    least = schema.get("minimum")
    return schema.get("x-negative") is False or (least is not None and least >= 0)


def _scales(schema: JSON) -> tuple[int, int] | None:
    """Return the least and the most decimals, or None where the schema does not say."""
    match schema.get("x-scale"):
        case int(scale):
            return scale, scale
        case [int(low), int(high)]:
            return low, high
    return None


def _decimals(scales: tuple[int, int]) -> str:
    low, high = scales
    return f"{low} decimals" if low == high else f"{low} to {high} decimals"
