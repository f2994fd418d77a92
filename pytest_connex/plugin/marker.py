"""What a test asks of its run with the marker ``connex``.

The markers of a function, its class and its module are taken together, the closest first; what none of them
says comes from the options of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from .options import CLOCKS, RunOptions, read_pace

_WANTED = {
    "strict": "True or False",
    "pace": '"instant", "recorded", or a number that the recorded intervals are multiplied with',
    "clock": " or ".join(f'"{clock}"' for clock in CLOCKS),
    "volatile": "a list of dotted paths",
    "match_headers": "a list of names of headers",
    "tls": "True or False",
}


@dataclass(frozen=True)
class Wishes:
    """What one test asks.

    Attributes:
        strict: Whether every received message must be delivered.
        pace: What the recorded intervals are multiplied with; 0 delivers at once what is due.
        virtual: Whether the test runs on a virtual clock.
        volatile: Dotted paths of members that differ in every run, besides those of the dialect.
        match_headers: Names of headers that must hold what they held when they were recorded.
        tls: Whether ``connex_proxy`` gives URLs of TLS.
    """

    strict: bool
    pace: float
    virtual: bool
    volatile: tuple[str, ...]
    match_headers: tuple[str, ...]
    tls: bool


def wishes(item: pytest.Item, options: RunOptions) -> Wishes:
    """Return what the markers of a test ask.

    Raises:
        pytest.UsageError: A marker has an argument that does not exist, or a value that cannot be used.
    """
    asked: dict[str, Any] = {}
    for marker in item.iter_markers("connex"):
        if marker.args:
            raise pytest.UsageError(f"{item.nodeid}: the marker connex takes keyword arguments only")
        for name, value in marker.kwargs.items():
            if name not in _WANTED:
                raise pytest.UsageError(
                    f"{item.nodeid}: the marker connex has no {name!r}: choose from {', '.join(_WANTED)}"
                )
            try:
                asked.setdefault(name, _READ[name](value))
            except (TypeError, ValueError) as exc:
                raise pytest.UsageError(f"{item.nodeid}: connex({name}={value!r}): expected {_WANTED[name]}") from exc
    return Wishes(
        strict=asked.get("strict", False),
        pace=asked.get("pace", options.pace),
        virtual=asked.get("clock", options.clock) == "virtual",
        volatile=asked.get("volatile", ()),
        match_headers=asked.get("match_headers", options.match_headers),
        tls=asked.get("tls", options.tls),
    )


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _pace(value: Any) -> float:
    if isinstance(value, str):
        return read_pace(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise TypeError
    return float(value)


def _clock(value: Any) -> str:
    if value not in CLOCKS:
        raise ValueError
    return str(value)


def _paths(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(path, str) and path for path in value):
        raise TypeError
    return tuple(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "strict": _flag,
    "pace": _pace,
    "clock": _clock,
    "volatile": _paths,
    "match_headers": _paths,
    "tls": _flag,
}
