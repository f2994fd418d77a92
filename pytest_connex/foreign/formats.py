"""The formats of captures that can be read."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What other tools write."""

    HAR = "har"
    MITMPROXY = "mitmproxy"
    LINES = "lines"
