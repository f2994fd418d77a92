"""Holding messages against a schema, exactly.

A sans-I/O core around jsonschema-rs, which takes ``int`` and ``Decimal`` of any length. To JSON Schema ``1.0`` is an
integer, and decimals of a JSON number do not count; here both do, because a reader sees them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple, NoReturn

from jsonschema_rs import validator_for

from ..errors import ConfigError, DataFormatError
from ..model import JSON
from ..protocol import MAX_NESTING, decode_json, excerpt

_SHOWN = 200


class Violation(NamedTuple):
    """One place in which a message breaks its schema; ``path`` is empty for the message as a whole."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path or 'the message'}: {self.problem}"


class _Numeral(NamedTuple):
    """A place where the schema says how a JSON number is written."""

    steps: tuple[str | int | None, ...]
    whole: bool
    scale: int | None


class Checker:
    """Holds messages against one schema.

    Args:
        schema: JSON Schema 2020-12. References lead nowhere but into itself.

    Raises:
        ConfigError: It is no such schema.
    """

    def __init__(self, schema: JSON) -> None:
        if not isinstance(schema, dict):
            raise ConfigError(f"a schema must be a JSON object, found {excerpt(repr(schema))}")
        try:
            refuse_inexact(schema)
            self._validator = validator_for(schema, retriever=_refuse_reference)
        except (ValueError, TypeError) as exc:
            raise ConfigError(f"not a JSON Schema: {excerpt(_first_line(exc), _SHOWN)}") from exc
        self._numerals = list(_numerals(schema, ()))

    def violations(self, payload: JSON) -> list[Violation]:
        """Return where a message breaks the schema.

        Args:
            payload: The message, as :func:`read_exactly` returns it.
        """
        found: list[Violation] = []
        if not self._validator.is_valid(payload):
            for error in self._validator.iter_errors(payload):
                found.append(Violation(_path(error.instance_path), excerpt(error.message, _SHOWN)))
        for numeral in self._numerals:
            found += (problem for place in _at(payload, numeral.steps, ()) if (problem := _misspelt(numeral, *place)))
        return found


def read_exactly(frame: str | bytes | JSON) -> JSON:
    """Return a message as a document of exact values.

    Args:
        frame: Its text, or what :func:`~pytest_connex.protocol.decode_json` made of it.

    Raises:
        DataFormatError: It is not JSON, or holds what is none, a float among it: what was written is lost there.
    """
    if not isinstance(frame, (str, bytes)):
        refuse_inexact(frame)
        return frame
    payload = decode_json(frame)
    if ("\\u" if isinstance(frame, str) else b"\\u") in frame or not frame.isascii():  # type: ignore[operator]
        refuse_inexact(payload)
    return payload


def refuse_inexact(document: JSON) -> None:
    """Check that a document holds nothing but JSON, exactly.

    Raises:
        DataFormatError: It does not; the message says where.
    """
    left: list[tuple[JSON, tuple[str | int, ...]]] = [(document, ())]
    while left:
        value, path = left.pop()
        if len(path) > MAX_NESTING:
            raise DataFormatError(f"nested more than {MAX_NESTING} deep")
        if isinstance(value, dict):
            for name, inner in value.items():
                _refuse_halves(name, path)
                left.append((inner, (*path, name)))
        elif isinstance(value, list):
            left += ((inner, (*path, index)) for index, inner in enumerate(value))
        elif isinstance(value, str):
            _refuse_halves(value, path)
        elif isinstance(value, float) or (isinstance(value, Decimal) and not value.is_finite()):
            raise DataFormatError(
                f"{_path(path) or 'the message'}: {value!r} is not what was on the wire: hand in the text"
            )
        elif not (value is None or isinstance(value, (int, Decimal))):
            raise DataFormatError(
                f"{_path(path) or 'the message'}: {type(value).__name__} is not JSON: hand in the text"
            )


def _refuse_halves(text: JSON, path: tuple[str | int, ...]) -> None:
    if not isinstance(text, str):
        raise DataFormatError(f"{_path(path) or 'the message'}: a member's name must be a string, found {text!r}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise DataFormatError(f"{_path(path) or 'the message'}: half of a surrogate pair in {text[:80]!a}") from exc


def _refuse_reference(uri: str) -> NoReturn:
    raise LookupError(f"a pinned schema refers to nothing but itself, not to {uri}")


def _numerals(schema: JSON, steps: tuple[str | int | None, ...]) -> Iterator[_Numeral]:
    """Yield the places where a schema says how JSON numbers are written, as far as it spells them out."""
    if not isinstance(schema, dict):
        return
    kind, scale = schema.get("type"), schema.get("x-scale")
    if kind == "integer" or (kind == "number" and type(scale) is int):
        yield _Numeral(steps, kind == "integer", scale if kind == "number" else None)
    for name, inner in schema.get("properties", {}).items():
        yield from _numerals(inner, (*steps, name))
    for index, inner in enumerate(schema.get("prefixItems", ())):
        yield from _numerals(inner, (*steps, index))
    if "prefixItems" not in schema:
        yield from _numerals(schema.get("items"), (*steps, None))


def _at(value: JSON, steps: tuple[str | int | None, ...], path: tuple[str | int, ...]) -> Iterator[tuple[str, JSON]]:
    """Yield what stands at the end of these steps, of which None stands for every item."""
    if not steps:
        yield _path(path), value
        return
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if isinstance(value, dict) and step in value:
            yield from _at(value[step], rest, (*path, step))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if step in (None, index):
                yield from _at(inner, rest, (*path, index))


def _misspelt(numeral: _Numeral, path: str, value: JSON) -> Violation | None:
    """Return what is wrong with how a number is written; a whole number is an ``int``, or a very long Decimal."""
    if not isinstance(value, Decimal):
        if numeral.scale and type(value) is int and value:
            return Violation(path, f"{excerpt(str(value))} has 0 decimals, not {numeral.scale}")
        return None
    places = -int(value.as_tuple().exponent)
    if numeral.whole:
        if value == value.to_integral_value() and (places or len(value.as_tuple().digits) <= 4000):
            return Violation(path, f"{excerpt(str(value))} is written with a fraction or an exponent")
    elif places != numeral.scale:
        return Violation(path, f"{excerpt(str(value))} has {max(0, places)} decimals, not {numeral.scale}")
    return None


def _path(steps: Iterable[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")


def _first_line(exc: Exception) -> str:
    return (str(exc).strip() or type(exc).__name__).splitlines()[0]
