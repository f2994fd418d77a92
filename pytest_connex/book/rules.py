"""The rules that order books are held against, by name."""

from __future__ import annotations

from typing import Literal, TypeAlias

Sequencing: TypeAlias = Literal["contiguous", "linked", "increasing", "ranged"]

SEQUENCINGS: tuple[Sequencing, ...] = ("contiguous", "linked", "increasing", "ranged")
"""How the sequence of an update follows on the one before.

``contiguous``: one more. ``linked``: its ``previous_sequence`` is the one before. ``increasing``: more.
``ranged``: its ``first_sequence`` is one more than the one before, and it goes up to its ``sequence``.
"""

RULES = (
    "sorted",
    "duplicate",
    "price",
    "quantity",
    "depth",
    "symbol",
    "exchange",
    "timestamp",
    "backwards",
    "stale",
    "sequence",
    "crossed",
    "checksum",
)
"""What frames are held against.

``sorted``: the sides of a snapshot have their best level first. ``duplicate``: no price stands twice on a side of
one frame. ``price``: above zero. ``quantity``: zero or more; in an update zero deletes, also what is not there.
``depth``: a snapshot has no more levels a side than were subscribed. ``symbol`` and ``exchange``: as subscribed, or
as in the first frame. ``timestamp``: a whole number of epoch milliseconds between 2009 and 2100. ``backwards``: no
frame is older than the one before. ``stale``: no frame is older than ``max_age``. ``sequence``: nothing is missing.
``crossed``: the best bid is below the best ask. ``checksum``: the one in the frame is that of the book.
"""
