"""Undoing escapes: those of URLs and forms, of JSON and Python, and of HTML, one inside the other.

An escape that is escaped again, however often, is undone in one go: ``%252541`` and ``\\\\\\u0041`` are an A.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import unquote_to_bytes

_KINDS = 4
"""So often escapes are undone: so many kinds may be nested."""

_PERCENTS = re.compile(rb"%(?:25)+(?=[0-9A-Fa-f]{2})")
_BACKSLASH = re.compile(rb"\\++(?:u[0-9A-Fa-f]{4}(?:\\++u[0-9A-Fa-f]{4})*+|U[0-9A-Fa-f]{8}|x[0-9A-Fa-f]{2}|[^uUx])?")
_ENTITY = re.compile(rb"&(?:amp;)*+(?:#[xX]?0*[0-9A-Fa-f]{1,8};|[A-Za-z][0-9A-Za-z]{1,7};)|&(?:amp;)+")
_WHITE_SPACE = {b"n": b"\n", b"r": b"\n", b"t": b"\t"}


def has_escapes(text: str) -> bool:
    """Tell whether anything in ``text`` may be escaped."""
    return "%" in text or "\\" in text or "&" in text


def stages(data: bytes, whole: bool = False) -> Iterator[bytes]:
    """Yield ``data``, then the same with its escapes undone once, twice and so on, as long as there are any.

    Where nothing but quotes is escaped, as in most messages, it yields the one without those escapes.

    Args:
        data: What may have escapes.
        whole: Whether to yield ``data`` itself in that case too.
    """
    unquoted = data.replace(b'\\"', b'"')
    if not _has_escapes(unquoted):
        if whole and unquoted != data:
            yield data
        yield unquoted
        return
    yield data
    for _ in range(_KINDS):
        undone = _undone(unquoted)
        if undone == data:
            return
        yield undone
        data = undone
        unquoted = data.replace(b'\\"', b'"')
        if not _has_escapes(unquoted):
            return


def _has_escapes(data: bytes) -> bool:
    return b"\\" in data or b"%" in data or b"&" in data


def _undone(data: bytes) -> bytes:
    if b"%" in data:
        data = unquote_to_bytes(_PERCENTS.sub(b"%", data))
    if b"\\" in data:
        data = _BACKSLASH.sub(_character, data)
    if b"&" in data:
        data = _ENTITY.sub(_meaning, data)
    return data


def _character(match: re.Match[bytes]) -> bytes:
    token = match[0].lstrip(b"\\")
    match token[:1]:
        case b"":
            return match[0]  # backslashes that escape nothing
        case b"u":
            units = match[0].replace(b"\\", b"").replace(b"u", b"")
            return bytes.fromhex(units.decode()).decode("utf-16-be", "replace").encode()
        case b"U":
            return bytes.fromhex(token[1:].decode()).decode("utf-32-be", "replace").encode()
        case b"x":
            return bytes.fromhex(token[1:].decode())
    return _WHITE_SPACE.get(token, token)


def _meaning(match: re.Match[bytes]) -> bytes:
    return _of_entity(match[0].rpartition(b"amp;")[2].lstrip(b"&"))


@lru_cache(maxsize=1024)
def _of_entity(name: bytes) -> bytes:
    return html.unescape(f"&{name.decode()}").encode() if name else b"&"
