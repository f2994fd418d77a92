"""What goes wrong on one WebSocket connection."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, assert_never, get_args

from .kinds import Change, Edit, Ending, Pace

if TYPE_CHECKING:
    from .script import Faults

Message = tuple[bool, bytes]
"""Whether it is text, and its bytes."""

_ORDER: tuple[Change, ...] = get_args(Change)
"""In which order changes are made to a message that has several."""

_PRINTABLE = 95
"""How many characters there are from the space on, in ASCII."""


class Trouble:
    """What goes wrong on one connection.

    It is made when the handshake is asked for, and has its share of the script from :meth:`opened` on: a handshake
    that is not accepted uses up nothing. Only :attr:`pending` and :meth:`clear` may be called from any thread.

    Args:
        faults: The script.
        number: The connection, counted from 1 in the order of the handshakes.
    """

    def __init__(self, faults: Faults, number: int) -> None:
        self.number = number
        self.ending: Ending | None = None
        self._faults = faults
        self._changes: set[tuple[Change, int]] = set()
        self._frames = 0
        self._held: list[Message] = []

    def opened(self) -> bool:
        """Take this connection's share of the script, and tell whether there is any."""
        self.ending, self._changes = self._faults.claim(self)
        if self.pending:
            return True
        self.gone()
        return False

    def gone(self) -> None:
        """The connection is over, or has nothing more before it."""
        self._faults.release(self)

    @property
    def pending(self) -> int:
        """How much of it has not happened yet."""
        return len(self._changes) + (self.ending is not None)

    def clear(self) -> None:
        """Take back what has not happened yet."""
        self.ending = None
        self._changes.clear()

    def message(self, text: bool, payload: bytes) -> list[Message]:
        """Take a message of the server, and return what is sent in its place."""
        self._frames += 1
        changed = [(text, payload)]
        for kind in self._due():
            self.note(f"{kind} at message {self._frames}")
            if kind == "reorder":
                self._held = changed + self._held
                return []
            chance = self._faults.chance(f"{self.number}:{self._frames}")
            changed = [made for one in changed for made in _edited(kind, *one, chance)]
        return changed + self.held()

    def held(self) -> list[Message]:
        """Return what waited for a message to go before it."""
        held, self._held = self._held, []
        return held

    def end_due(self, sent: int) -> bool:
        """Tell whether the end is due by now, with ``sent`` bytes of messages sent."""
        ending = self.ending
        if ending is None:
            return False
        if ending.frames is not None:
            return self._frames >= ending.frames
        return ending.bytes is not None and sent >= ending.bytes

    def end(self) -> Ending | None:
        """Return how the connection ends, now that it does; it will not be asked again."""
        ending = self.ending
        if ending is not None:
            self.note(str(ending))
        self.clear()
        return ending

    def pace(self) -> Pace:
        """Return how slow the wire is by now."""
        return self._faults.pace()

    def chance(self) -> random.Random:
        """Return what makes the jitter of this connection."""
        return self._faults.chance(self.number)

    def note(self, what: str) -> None:
        """Remember that something went wrong."""
        self._faults.note(f"connection {self.number}: {what}")

    def _due(self) -> list[Change]:
        due = [kind for kind in _ORDER if (kind, self._frames) in self._changes]
        self._changes.difference_update((kind, self._frames) for kind in due)
        return due


def _edited(kind: Edit, text: bool, payload: bytes, chance: random.Random) -> list[Message]:
    match kind:
        case "truncate":
            return [(text, payload[: _half(text, payload)])]
        case "corrupt":
            return [(text, _corrupted(text, payload, chance))]
        case "invalid_utf8":
            place = chance.randrange(len(payload) + 1)
            return [(True, payload[:place] + b"\xff" + payload[place:])]
        case "duplicate":
            return [(text, payload)] * 2
        case _:
            assert_never(kind)


def _half(text: bool, payload: bytes) -> int:
    """Return where the first half ends; that of a text between two characters."""
    end = len(payload) // 2
    while text and end and _continues(payload[end]):
        end -= 1
    return end


def _corrupted(text: bool, payload: bytes, chance: random.Random) -> bytes:
    """Return ``payload`` with up to one byte in fifty changed, at least one if there is any."""
    changed = bytearray(payload)
    places = chance.sample(range(len(payload)), k=min(len(payload), 1 + len(payload) // 50))
    for place in sorted({_character_end(payload, place) for place in places} if text else places):
        byte = payload[place]
        if not text:
            changed[place] = byte ^ chance.randrange(1, 256)
        elif byte < 0x80:
            changed[place] = (byte - 32 + chance.randrange(1, _PRINTABLE)) % _PRINTABLE + 32
        else:
            changed[place] = byte ^ chance.randrange(1, 64)
    return bytes(changed)


def _character_end(text: bytes, place: int) -> int:
    """Return where a character ends: its last byte, but no other of several, may be any of its kind (RFC 3629, 4)."""
    while place + 1 < len(text) and _continues(text[place + 1]):
        place += 1
    return place


def _continues(byte: int) -> bool:
    return 0x80 <= byte < 0xC0
