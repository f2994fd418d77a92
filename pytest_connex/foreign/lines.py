"""Lines of text, as cryptofeed writes raw traffic: a time and a text a line.

::

    URL <-> EPOCH          a connection opened
    URL <- EPOCH: TEXT     sent by the client
    URL -> EPOCH: TEXT     an HTTP answer
    EPOCH: TEXT            a frame received

A received frame does not say on which connection, so one is open at a time: the next one ends it. Nothing says
how a connection ended. The reader keeps no more than one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..cassette.events import Dial, Open, Received, Sent
from ..errors import CassetteError
from .traffic import Exchange, Lost, Traffic, epoch, websocket_url

_LINE = re.compile(
    r"(?:(?P<url>\S+) (?P<arrow><->|<-|->) )?(?P<epoch>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?:: (?P<text>.*))?", re.DOTALL
)
_EXPECTED = "expected 'URL <-> EPOCH', 'URL <- EPOCH: TEXT', 'URL -> EPOCH: TEXT' or 'EPOCH: TEXT'"


def looks_like_lines(head: bytes) -> bool:
    """Tell whether a file that begins so is one of these."""
    first = head.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    return _LINE.fullmatch(first) is not None


def read_lines(lines: Iterable[bytes], path: Path) -> Iterator[Traffic]:
    """Yield what happened, line by line; empty lines are nothing.

    Args:
        lines: With their ends.
        path: Where they are from, for messages.

    Raises:
        CassetteError: A line is none of these, or belongs to no connection; with its number.
    """
    conn, at, current = 0, 0.0, ""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            url, arrow, at, text = _parsed(line.removesuffix(b"\n"))
            if arrow == "->":
                yield Exchange(at, "GET", url, (), None, 200, "OK", (), text.encode())
                continue
            if arrow == "<->":
                url = websocket_url(url)
        except ValueError as exc:
            raise CassetteError(str(exc), path, number) from exc
        if arrow == "<->":
            if conn:
                yield Lost(conn, at)
            conn, current = conn + 1, url
            yield Dial(conn, at, url)
            yield Open(conn, at)
        elif not conn:
            raise CassetteError("no connection is open: a line 'URL <-> EPOCH' opens one", path, number)
        elif arrow == "<-":
            if _without_fragment(url) != current:
                raise CassetteError(f"sent to {url}, and the connection that is open is {current}", path, number)
            yield Sent(conn, at, text)
        else:
            yield Received(conn, at, text)
    if conn:
        yield Lost(conn, at)


def _parsed(line: bytes) -> tuple[str, str, float, str]:
    """Return URL, arrow, time and text of a line; what it does not have is empty."""
    try:
        match = _LINE.fullmatch(line.decode())
    except UnicodeDecodeError as exc:
        raise ValueError(f"not UTF-8 at byte {exc.start + 1} of the line: this format holds text only") from exc
    if match is None or (match["text"] is None) != (match["arrow"] == "<->"):
        raise ValueError(f"not a line of this format: {_EXPECTED}")
    return match["url"] or "", match["arrow"] or "", epoch(float(match["epoch"])), match["text"] or ""


def _without_fragment(url: str) -> str:
    try:
        return websocket_url(url)
    except ValueError:
        return url
