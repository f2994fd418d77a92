"""The typed frames of the Connex WebSocket API.

Frames are immutable. Prices and quantities are :class:`~decimal.Decimal`, made from the text on the wire;
timestamps are epoch milliseconds. How a frame is read from text is :mod:`pytest_connex.protocol`'s business.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

import msgspec

JSON: TypeAlias = Any
"""Raw JSON: ``dict``, ``list``, ``str``, ``bool``, ``None``, ``int``, and ``Decimal`` for other numbers."""


class Level(NamedTuple):
    """One price level of an order book: a price in quote currency and a quantity in base currency."""

    price: Decimal
    quantity: Decimal


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole book to the subscribed depth, best level first; ``depth`` where the message names it [S]."""

    symbol: str
    exchange: str | None = None
    timestamp: int | None = None
    sequence: int | None = None
    depth: int | None = None
    checksum: int | None = None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """The levels that changed since ``previous_sequence``, in any order; quantity zero deletes a level.

    Where it sums up several changes, ``first_sequence`` is the first of them and ``sequence`` the last. ``depth`` is
    that of the subscription, where the message names it [S].
    """

    symbol: str
    exchange: str | None = None
    timestamp: int | None = None
    sequence: int | None = None
    previous_sequence: int | None = None
    first_sequence: int | None = None
    depth: int | None = None
    checksum: int | None = None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


class Authenticated(msgspec.Struct, frozen=True, kw_only=True):
    """The credentials were accepted."""

    timestamp: int | None = None


class Subscribed(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription was accepted; ``exchange`` where it was asked for."""

    channel: str | None = None
    symbol: str | None = None
    depth: int | None = None
    exchange: str | None = None


class Unsubscribed(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription ended on request; ``depth`` and ``exchange`` where they tell it from others."""

    channel: str | None = None
    symbol: str | None = None
    depth: int | None = None
    exchange: str | None = None


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a ping message; ``id`` is the ping's own."""

    id: JSON = None


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life during silence."""

    timestamp: int | None = None


class ErrorEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway refused something; ``code`` is for programs, ``message`` for people."""

    code: str | None = None
    message: str | None = None


class OtherFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object of a class this package does not know, as it came."""

    name: str
    payload: dict[str, JSON]


Frame: TypeAlias = (
    Snapshot | Update | Authenticated | Subscribed | Unsubscribed | Pong | Heartbeat | ErrorEvent | OtherFrame
)
