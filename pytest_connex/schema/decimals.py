"""How the numbers of messages are written, and what becomes of them on the way through a binary float.

A sans-I/O core. The audit looks at the text of every number, JSON number or string, and never computes with it;
``float`` is called here, and nowhere else, to see what it would do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, DecimalException

from ..cassette.matching import Number
from ..model import JSON
from .documents import read_message

DIGITS = 28
"""So many digits does the default context of :mod:`decimal` keep, and other languages' decimals no more."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SHOWN = 40


@dataclass
class Figures:
    """What is known of the numbers in one place.

    Attributes:
        strings: How many were JSON strings.
        numbers: How many were JSON numbers.
        digits: The most digits, without leading zeros.
        scale: The least and the most digits after the point, as written.
        exponents: How many have an exponent.
        value_changed: How many a float would change.
        text_changed: How many a float would write another way, with the same value.
        too_long: How many have more than :data:`DIGITS` digits.
        lookalikes: Strings that ``Decimal`` reads, and that are no numbers by JSON's grammar: ``NaN``, ``1_000``.
        others: How many were something else.
        example: The first whose value a float would change, or else the first whose text.
    """

    strings: int = 0
    numbers: int = 0
    digits: int = 0
    scale: tuple[int, int] | None = None
    exponents: int = 0
    value_changed: int = 0
    text_changed: int = 0
    too_long: int = 0
    lookalikes: list[str] = field(default_factory=list)
    others: int = 0
    example: str = ""

    @property
    def count(self) -> int:
        """How many numbers there were."""
        return self.strings + self.numbers

    @property
    def kind(self) -> str:
        """As what they travel: ``string``, ``number`` or ``both``."""
        return "both" if self.strings and self.numbers else "number" if self.numbers else "string"

    @property
    def effect(self) -> str:
        """What a float does to them: changes the ``value``, only the ``text``, or ``nothing``."""
        return "value" if self.value_changed else "text" if self.text_changed else "nothing"

    def add(self, text: str) -> None:
        """Take the text of one number."""
        mantissa, _, exponent = text.lower().partition("e")
        whole, _, fraction = mantissa.lstrip("-").partition(".")
        scale = len(fraction)
        self.digits = max(self.digits, digits := len((whole + fraction).lstrip("0")) or 1)
        low, high = self.scale or (scale, scale)
        self.scale = min(low, scale), max(high, scale)
        self.exponents += bool(exponent)
        self.too_long += digits > DIGITS
        effect = float_effect(text)
        if effect == "value" and not self.value_changed:
            self.example = text
        self.value_changed += effect == "value"
        self.text_changed += effect == "text"
        self.example = self.example or (text if effect == "text" else "")


class Audit:
    """Collects the numbers of messages, place by place."""

    def __init__(self) -> None:
        self.messages = 0
        self._figures: dict[tuple[str, str], Figures] = {}

    def add(self, text: str | bytes, name: str | None = None) -> None:
        """Take one message, as it was on the wire.

        Args:
            text: The message.
            name: Its class, where the message itself does not say it.

        Raises:
            DataFormatError: It is not JSON.
        """
        message = read_message(text)
        self.messages += 1
        for path, value in _leaves(message.document, "", False):
            self._add(name or message.name, path, value)

    def places(self) -> list[tuple[str, str, Figures]]:
        """Return class, path and figures of every place where a number stands, or what looks like one."""
        return [
            (*place, figures)
            for place, figures in sorted(self._figures.items())
            if figures.count or figures.lookalikes
        ]

    def _add(self, name: str, path: str, value: JSON) -> None:
        figures = self._figures.setdefault((name, path), Figures())
        if isinstance(value, Number):
            figures.numbers += 1
            figures.add(value.written)
        elif not isinstance(value, str):
            figures.others += value is not None
        elif _NUMBER.fullmatch(value):
            figures.strings += 1
            figures.add(value)
        elif _looks_like_a_number(value):
            figures.lookalikes.append(value[:_SHOWN])
        else:
            figures.others += 1


def float_effect(text: str) -> str:
    """Return what a float does to a number: ``value``, ``text`` or ``nothing``."""
    written = repr(float(text))
    if written == text:
        return "nothing"
    if "." not in text and "e" not in text.lower() and written == f"{text}.0":
        return "nothing"  # a whole number that a float holds; receivers read it as one
    try:
        return "text" if Decimal(written) == Decimal(text) else "value"
    except DecimalException:
        return "value"


def table(audit: Audit) -> list[str]:
    """Return the audit as the lines of a table."""
    rows = [("class", "path", "as", "count", "digits", "decimals", "exponent", "a float changes", f"> {DIGITS}")]
    for name, path, figures in audit.places():
        low, high = figures.scale or (0, 0)
        rows.append(
            (
                name,
                path or "(itself)",
                figures.kind,
                str(figures.count),
                str(figures.digits),
                str(low) if low == high else f"{low}-{high}",
                str(figures.exponents or "-"),
                figures.effect,
                str(figures.too_long or "-"),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def verdict(audit: Audit) -> list[str]:
    """Return what follows from the audit, a sentence a line."""
    places = audit.places()
    if not places:
        return ["there is no number in these messages"]
    lines = [_float_verdict(places)]
    for heading, concerned, detail in _CONCERNS:
        named = [f"  {_named(place)}{detail(place[2])}" for place in places if concerned(place[2])]
        lines += [heading, *named] if named else []
    return lines


def _float_verdict(places: list[tuple[str, str, Figures]]) -> str:
    strings = sum(figures.strings for _, _, figures in places)
    numbers = sum(figures.numbers for _, _, figures in places)
    counted = f"{strings} strings and {numbers} JSON numbers in {len(places)} places"
    if any(figures.value_changed for _, _, figures in places):
        return f"{counted}: NEVER read them through float, it changes values"
    if any(figures.text_changed for _, _, figures in places):
        return f"{counted}: read them from the text; a float keeps the values and loses how they were written"
    return f"{counted}: a float would change none of them"


def _named(place: tuple[str, str, Figures]) -> str:
    name, path, _ = place
    return f"{name}: {path}" if path else name


def _round_trip(figures: Figures) -> str:
    text = figures.example
    return f": {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} -> {float(text)!r}"


def _nothing(figures: Figures) -> str:
    return ""


_CONCERNS: tuple[tuple[str, Callable[[Figures], object], Callable[[Figures], str]], ...] = (
    ("a float would change the value of", lambda figures: figures.effect == "value", _round_trip),
    ("a float would change only the text of", lambda figures: figures.effect == "text", _round_trip),
    (
        f"more than {DIGITS} digits, which Decimal arithmetic rounds by default, in",
        lambda figures: figures.too_long,
        _nothing,
    ),
    ("written with an exponent, sometimes or always, in", lambda figures: figures.exponents, _nothing),
    ("sometimes a string and sometimes a number in", lambda figures: figures.kind == "both", _nothing),
    (
        "no number by JSON's grammar, though Decimal() reads it, in",
        lambda figures: figures.lookalikes,
        lambda figures: f": {figures.lookalikes[0]!r}",
    ),
)
"""What the verdict says of places: the heading, for which of them it holds, and what is shown of each."""


def _looks_like_a_number(text: str) -> bool:
    try:
        Decimal(text)
    except DecimalException:
        return False
    return True


def _leaves(value: JSON, path: str, within_array: bool) -> Iterator[tuple[str, JSON]]:
    """Yield what is neither object nor array, with its path; in rows (arrays in arrays) values have a position."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else name, False)
    elif isinstance(value, list):
        row = within_array and not any(isinstance(inner, (list, dict)) for inner in value)
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{index if row else ''}]", True)
    else:
        yield path, value
