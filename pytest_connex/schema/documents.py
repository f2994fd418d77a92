"""Messages as documents: numbers as they are written, and the class that a schema is made for.

A sans-I/O core. The class is the notebook's, with what the message calls itself where that alone would throw
snapshots and updates of a book together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, cast
from urllib.parse import quote

from ..cassette.matching import read_json
from ..model import JSON
from ..protocol import classify, decode_json

SUFFIX = ".schema.json"

_NAMING = ("event", "type", "action", "op")
_LONGEST_NAME = 100


class Message(NamedTuple):
    """One message.

    Attributes:
        name: Its class.
        naming: The member that names the class, where one does.
        document: Its JSON, every number a :class:`~pytest_connex.cassette.matching.Number`.
    """

    name: str
    naming: str | None
    document: JSON


def read_message(text: str | bytes) -> Message:
    """Read one message exactly.

    Raises:
        DataFormatError: It is not JSON, as :func:`~pytest_connex.protocol.decode_json` reads it.
    """
    payload = decode_json(text)
    # What read_json takes for no JSON, decode_json has refused.
    (document,) = cast("tuple[JSON]", read_json(text if isinstance(text, str) else text.decode("utf-8")))
    return Message(message_class(payload), naming_member(payload), document)


def message_class(payload: JSON) -> str:
    """Return the class of a message: ``orderbook.snapshot``, ``orderbook.update``, ``subscribed``, ``error``, ..."""
    name = classify(payload)
    naming = naming_member(payload)
    return f"orderbook.{payload[naming]}" if name == "orderbook" and naming else name


def naming_member(payload: JSON) -> str | None:
    """Return the member in which a message says what it is, or None where it says nothing."""
    if not isinstance(payload, Mapping):
        return None
    return next((name for name in _NAMING if isinstance(payload.get(name), str)), None)


def file_name(name: str) -> str:
    """Return the name of the file that the schema of a class is pinned in."""
    safe = quote(name, safe="")
    if len(safe) > _LONGEST_NAME:
        safe = f"{safe[:_LONGEST_NAME]}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"{safe}{SUFFIX}"
