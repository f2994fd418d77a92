"""Telling values that a client makes up anew in every run from values it means.

It is a guess, good enough for a hint, which a person reads: nothing is matched by it.
"""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import pairwise, takewhile
from math import log2

from .matching import Difference

_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_EPOCH = re.compile(r"([1-4][0-9]{9})(?:[0-9]{3}|[0-9]{6}|[0-9]{9})?(?:\.[0-9]+)?")  # the years 2001 to 2128
_FEWEST = 4
"""So many different characters are in what chance or a clock made: ``1000000000`` is an amount."""
_LATEST = 4_102_444_800  # the year 2100
_CLOCK = re.compile(r"[T ][0-9]{2}:?[0-9]{2}")
_TOKEN = re.compile(r"[A-Za-z0-9]{8,}")
_BASE64 = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/_-]{16,}={0,2}")
_COUNTED = re.compile(r"(?:.*[^0-9])?([0-9]+)", re.DOTALL)
_COUNTER_NAME = re.compile(
    r"(?:^|[^A-Za-z])(?:id|c?l?oid|cid|seq|sequence|nonce|counter|reqid)$|[a-z](?:Id|ID|Oid|Seq|Nonce)$"
)
_POSITION = re.compile(r"(?:^|\.)[0-9]+(?=\.|$)")


def generated(found: Iterable[Difference]) -> list[str]:
    """Return the places of ``found``, in the spelling of ``volatile``, if every one looks made up; otherwise nothing.

    A place looks made up where recorded and actual value are of the same of these kinds: a UUID, an epoch time in
    seconds to nanoseconds, a time in ISO 8601, or a random text; or a counter in a member that is called like one.
    Where several positions of an array differ, every one is meant.
    """
    names = [(one.path, _POSITION.sub("", one.path).lstrip("."), one) for one in found]
    if not all(name and _is_generated(name, one) for _, name, one in names):
        return []
    often = Counter(name for _, name, _ in names)
    return list(dict.fromkeys(path if often[name] == 1 else name for path, name, _ in names))


def advice(names: list[str], cure: str) -> str:
    """Return the line that says what to do about places that look made up, or an empty text.

    Args:
        names: The places.
        cure: What to write, with ``{}`` for their names as members of a Python list.
    """
    if not names:
        return ""
    verb = "is" if len(names) == 1 else "are"
    members = ", ".join(json.dumps(name, ensure_ascii=False) for name in names)
    return f"if {' and '.join(names)} {verb} made up anew in every run: {cure.format(members)}"


def _is_generated(name: str, one: Difference) -> bool:
    left, right = _text(one.expected), _text(one.actual)
    if left is None or right is None:
        return False
    prefix = _common_prefix(left, right)
    for before, after in ((left, right), (left[prefix:], right[prefix:])):
        if any(kind(before) and kind(after) for kind in _KINDS):
            return _same_length_of_epoch(before, after)
    return bool(_COUNTER_NAME.search(name)) and _are_counted(left, right)


def _common_prefix(left: str, right: str) -> int:
    """Return the length of what both begin with, up to a character that separates: chance may begin alike too."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False))
    text = "".join(one for one, _ in same)
    return max((place for place, one in enumerate(text, start=1) if not one.isalnum()), default=0)


def _text(shown: str) -> str | None:
    """Return a string or a number as text; None for what is neither."""
    if shown[:1] in "'\"":
        with suppress(ValueError, SyntaxError):
            return str(literal_eval(shown))
        return None
    return shown if re.fullmatch(r"-?[0-9][0-9.eE+-]*", shown) else None


def _is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def _is_epoch(text: str) -> bool:
    found = _EPOCH.fullmatch(text)
    return found is not None and int(found[1]) < _LATEST and len(set(text)) >= _FEWEST


def _same_length_of_epoch(left: str, right: str) -> bool:
    return not _is_epoch(left) or len(left.partition(".")[0]) == len(right.partition(".")[0])


def _is_iso_time(text: str) -> bool:
    if not _CLOCK.search(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_random(text: str) -> bool:
    """Tell whether a text has what chance gives it: digits among letters, and few characters often."""
    if not (_TOKEN.fullmatch(text) or _BASE64.fullmatch(text)) or len(set(text)) < _FEWEST:
        return False
    digits = sum(map(str.isdigit, text))
    if digits == len(text):
        return digits >= 15
    switches = sum(one.isdigit() != two.isdigit() for one, two in pairwise(text))
    frequent = [text.count(one) / len(text) for one in set(text)]
    entropy = -sum(part * log2(part) for part in frequent)
    return switches >= 3 and entropy >= min(2.5, log2(len(text)) - 0.75)


def _are_counted(left: str, right: str) -> bool:
    """Tell whether two texts are the same but for a whole number at their end."""
    ends = [_COUNTED.fullmatch(text) for text in (left, right)]
    return all(ends) and len({end.string[: end.start(1)] for end in ends if end is not None}) == 1


_KINDS: tuple[Callable[[str], bool], ...] = (_is_uuid, _is_epoch, _is_iso_time, _is_random)
