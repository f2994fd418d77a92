"""Faults as a command line spells them."""

from __future__ import annotations

import inspect
from typing import Any

from ..errors import ConfigError
from .script import Faults

SCRIPTABLE = (
    "answer",
    "cut_answer",
    "stall_answer",
    "refuse",
    "refuse_handshake",
    "drop_after",
    "reset_after",
    "reset_instead_of_close",
    "close_after",
    "stall_after",
    "truncate",
    "duplicate",
    "reorder",
    "corrupt",
    "invalid_utf8",
    "latency",
    "bandwidth",
)
"""The faults that a command line can ask for."""

_TEXTS = frozenset({"reason"})


def parse_fault(script: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Return the method of :class:`Faults` that ``script`` names, and its arguments.

    Args:
        script: A name, and arguments after a colon: ``close_after:frames=10,code=1012,reason=restart``. Messages are
            named one by one: ``truncate:frame=3,frame=7``.

    Raises:
        ConfigError: There is no such fault, or no such argument.
    """
    name, _, listed = script.partition(":")
    name = name.strip()
    if name not in SCRIPTABLE:
        raise ConfigError(f"there is no fault {name!r}; there are {', '.join(SCRIPTABLE)}")
    numbered, known = _arguments_of(name)
    frames: list[Any] = []
    arguments: dict[str, Any] = {}
    for given in filter(None, listed.split(",")):
        key, equals, value = (part.strip() for part in given.partition("="))
        if not equals:
            raise ConfigError(f"{given!r} in {script!r} is no argument: write name=value")
        if numbered and key == "frame":
            frames.append(_read(value))
        elif key not in known:
            raise ConfigError(f"{name} has no argument {key!r}; it has {', '.join(known) or 'none'}")
        elif key in arguments:
            raise ConfigError(f"{key} is there twice in {script!r}")
        else:
            arguments[key] = value if key in _TEXTS else _read(value)
    return name, tuple(frames), arguments


def apply_fault(faults: Faults, script: str) -> None:
    """Add the fault that ``script`` describes; see :func:`parse_fault`.

    Raises:
        ConfigError: There is no such fault, or it cannot be had with these arguments.
    """
    name, frames, arguments = parse_fault(script)
    method = getattr(faults, name)
    try:
        inspect.signature(method).bind(*frames, **arguments)
    except TypeError as exc:
        raise ConfigError(f"{script!r}: {exc}") from None
    method(*frames, **arguments)


def _arguments_of(name: str) -> tuple[bool, list[str]]:
    """Return whether a fault takes numbers of messages, and what its arguments are called."""
    parameters = list(inspect.signature(getattr(Faults, name)).parameters.values())[1:]
    numbered = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL]
    return numbered, (["frame", *named] if numbered else named)


def _read(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
