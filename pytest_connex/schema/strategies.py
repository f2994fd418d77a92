"""What genson is taught: exact numbers, rows of fixed length, and the strings that a market's messages hold.

A sans-I/O core over documents whose numbers are written text. What is claimed of a member depends on how often it
was seen (:class:`Evidence`): a schema that is pinned must hold for what it has not seen, while one that stands for a
few live frames should tell everything about them.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, NamedTuple

from genson.schema.node import SchemaNode
from genson.schema.strategies import Boolean, Null, Object, SchemaStrategy

from ..cassette.matching import Number
from ..model import JSON

FIRST_MS = 1_230_768_000_000  # 2009-01-01, before which nothing was traded
LAST_MS = 4_102_444_800_000  # 2100-01-01

SYMBOL = "^[A-Z0-9]*[A-Z][A-Z0-9]*([/-][A-Z0-9]+)+$"
_SYMBOL = re.compile(SYMBOL)
_NUMBER = re.compile(r"(-?)(?:0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_JOINED = re.compile(r"[A-Z0-9]{2,}(?:USD[TC]?|BUSD|BTC|ETH|BNB|EUR|GBP|TRY|DAI)")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
_FEW = 8


class Evidence(NamedTuple):
    """How much must have been seen before something is claimed.

    Attributes:
        numbers: Values, before a number is said to have this many decimals, or never to be negative.
        rows: Arrays within an array, before they are said to have this length.
        repeats: How often each of a few words must have stood there on average, before they are an enumeration.
        words: How many words an enumeration has at least.
    """

    numbers: int
    rows: int
    repeats: int
    words: int


FIRM = Evidence(numbers=100, rows=10, repeats=5, words=2)
"""For a schema that others are held against. A number whose last digit happens to be left out when it is zero would
show as many decimals a hundred times with a probability of 0.9 ** 100, or 3 in 100,000."""

SLIGHT = Evidence(numbers=1, rows=1, repeats=1, words=1)
"""For a few frames that are held against such a schema."""


class Node(SchemaNode):  # type: ignore[misc]  # genson has no types
    """A place in a schema."""

    evidence: ClassVar[Evidence] = FIRM


class SlightNode(Node):
    """A place in the schema of a few frames."""

    evidence = SLIGHT


class _Digits:
    """How the numbers of one place are written."""

    def __init__(self) -> None:
        self.count = 0
        self.negative = False
        self.exponent = False
        self.whole = True
        self.epoch = True
        self.scales: tuple[int, int] | None = None

    def add(self, text: str) -> bool:
        """Take a number; tell whether it is one by JSON's grammar."""
        match = _NUMBER.fullmatch(text)
        if match is None:
            return False
        sign, fraction, exponent = match.groups()
        self.count += 1
        self.negative |= bool(sign)
        self.exponent |= exponent is not None
        whole = fraction is None and exponent is None
        self.whole &= whole
        self.epoch &= whole and len(text) == 13 and FIRST_MS <= int(text) < LAST_MS
        if text != "0" and exponent is None:
            scale = len(fraction or "")
            low, high = self.scales or (scale, scale)
            self.scales = min(low, scale), max(high, scale)
        return True

    def describe(self, evidence: Evidence) -> dict[str, JSON]:
        """Return the annotations that tell it."""
        told: dict[str, JSON] = {}
        if self.scales is not None:
            fixed = self.scales[0] == self.scales[1] and self.count >= evidence.numbers and not self.exponent
            told["x-scale"] = self.scales[0] if fixed else list(self.scales)
        if self.exponent:
            told["x-exponent"] = True
        if self.negative or self.count >= evidence.numbers:
            told["x-negative"] = self.negative
        return told


def pattern_of(told: dict[str, JSON]) -> str:
    """Return the regular expression of decimal strings with these annotations; a bare zero has any scale."""
    sign = "" if told.get("x-negative") is False else "-?"
    whole = "(0|[1-9][0-9]*)"
    scale = told.get("x-scale")
    exponent = "([eE][+-]?[0-9]+)?" if told.get("x-exponent") else ""
    if not isinstance(scale, int):
        return rf"^{sign}{whole}(\.[0-9]+)?{exponent}$"
    if scale == 0:
        return f"^{sign}{whole}$"
    return rf"^(0|{sign}{whole}\.[0-9]{{{scale}}})$"


class Text(SchemaStrategy):  # type: ignore[misc]
    """Strings: decimals, epoch milliseconds, symbols, enumerations, or any text."""

    def __init__(self, node_class: type[Node]) -> None:
        super().__init__(node_class)
        self._evidence = node_class.evidence
        self._count = 0
        self._words: set[str] | None = set()
        self._digits: _Digits | None = _Digits()
        self._symbols = True

    @staticmethod
    def match_object(obj: JSON) -> bool:
        """Tell whether this is a string."""
        return isinstance(obj, str)

    def add_object(self, obj: str) -> None:
        """Take one more."""
        self._count += 1
        if self._digits is not None and not self._digits.add(obj):
            self._digits = None
        self._symbols = self._symbols and _SYMBOL.fullmatch(obj) is not None
        if self._words is not None:
            self._words.add(obj)
            if len(self._words) > _FEW or not _WORD.fullmatch(obj) or _JOINED.fullmatch(obj):
                self._words = None  # many words, no words, or symbols without a slash, of which there are always more

    def to_schema(self) -> dict[str, JSON]:
        """Return what has been seen."""
        if self._digits is not None and self._digits.epoch:
            return {"type": "string", "format": "epoch-milliseconds", "pattern": "^[1-4][0-9]{12}$"}
        if self._digits is not None:
            told = self._digits.describe(self._evidence)
            return {"type": "string", "format": "decimal", "pattern": pattern_of(told), **told}
        if self._symbols:
            return {"type": "string", "format": "symbol", "pattern": SYMBOL}
        words = self._words or ()
        if len(words) >= self._evidence.words and self._count >= self._evidence.repeats * len(words):
            return {"type": "string", "enum": sorted(words)}
        return {"type": "string"}


class Numeral(SchemaStrategy):  # type: ignore[misc]
    """JSON numbers. One that is written with a fraction or an exponent is no integer, whatever its value."""

    def __init__(self, node_class: type[Node]) -> None:
        super().__init__(node_class)
        self._evidence = node_class.evidence
        self._digits = _Digits()

    @staticmethod
    def match_object(obj: JSON) -> bool:
        """Tell whether this is a number."""
        return isinstance(obj, Number)

    def add_object(self, obj: Number) -> None:
        """Take one more."""
        self._digits.add(obj.written)

    def to_schema(self) -> dict[str, JSON]:
        """Return what has been seen."""
        if not self._digits.whole:
            return {"type": "number", **self._digits.describe(self._evidence)}
        if self._digits.epoch:
            return {"type": "integer", "format": "epoch-milliseconds", "minimum": FIRST_MS, "maximum": LAST_MS - 1}
        told = self._digits.describe(self._evidence)
        told.pop("x-scale", None)
        if told.get("x-negative") is False:
            told = {"minimum": 0}
        return {"type": "integer", **told}


class Array(SchemaStrategy):  # type: ignore[misc]
    """Arrays: rows of fixed length, as the levels of a book are, or any number of the same."""

    def __init__(self, node_class: type[Node]) -> None:
        super().__init__(node_class)
        self._evidence = node_class.evidence
        self._items = node_class()
        self._columns: list[Node] | None = []
        self._rows = 0

    @staticmethod
    def match_object(obj: JSON) -> bool:
        """Tell whether this is an array."""
        return isinstance(obj, list)

    def add_object(self, obj: list[JSON]) -> None:
        """Take one more."""
        for item in obj:
            self._items.add_object(item)
            self._columns = self._with_row(item)

    def to_schema(self) -> dict[str, JSON]:
        """Return what has been seen."""
        if self._columns and self._rows >= self._evidence.rows:
            columns = [column.to_schema() for column in self._columns]
            row = {"type": "array", "prefixItems": columns, "minItems": len(columns), "maxItems": len(columns)}
            return {"type": "array", "items": row}
        return {"type": "array", "items": self._items.to_schema()} if len(self._items) else {"type": "array"}

    def _with_row(self, item: JSON) -> list[Node] | None:
        """Return the columns with this row added; None once something is no row, or has another length."""
        if self._columns is None or not isinstance(item, list) or len(item) < 2:
            return None
        if any(isinstance(value, (list, dict)) for value in item):
            return None
        columns = self._columns or [self.node_class() for _ in item]
        if len(columns) != len(item):
            return None
        for column, value in zip(columns, item, strict=True):
            column.add_object(value)
        self._rows += 1
        return columns


_STRATEGIES: tuple[type[Any], ...] = (Null, Boolean, Numeral, Text, Array, Object)
Node.STRATEGIES = _STRATEGIES
