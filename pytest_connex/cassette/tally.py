"""Counting what passes, so that nothing of it can get lost on its way into a recording unnoticed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Messages:
    """What passed on WebSockets.

    Attributes:
        dials: How often one was dialled.
        sent: How many messages the client sent.
        received: How many it received.
        size: How long these messages are together, as they are recorded: characters of text and bytes of others.
    """

    dials: int = 0
    sent: int = 0
    received: int = 0
    size: int = 0


@dataclass
class Requests:
    """What passed over HTTP.

    Attributes:
        asked: How many requests there were.
        size: How many bytes their answers have, as they are recorded.
    """

    asked: int = 0
    size: int = 0
