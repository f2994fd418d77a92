"""Schemas from messages: JSON Schema 2020-12, one for each class.

A sans-I/O core. A schema is stable: keywords in one order, members by name, and nothing in it that changes when
more of the same is seen. genson merges; what it is taught is in
:mod:`~pytest_connex.schema.strategies`.

Four keywords are ours. ``x-scale`` is the number of decimals, where it is always the same, or the least and the
most; ``x-exponent`` says that exponents occur; ``x-negative`` says whether negative numbers do, and is left out
where too little was seen to tell.
"""

from __future__ import annotations

import json

from ..model import JSON
from .documents import Message, read_message
from .strategies import Node, SlightNode

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ORDER = (
    "$schema",
    "title",
    "type",
    "format",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "x-scale",
    "x-exponent",
    "x-negative",
    "required",
    "properties",
    "prefixItems",
    "minItems",
    "maxItems",
    "items",
    "anyOf",
)


class Inference:
    """Collects messages, and tells what they have in common.

    Args:
        slight: Tell everything about a few messages, to be compared with a pinned schema, instead of only what is
            to be expected of others.
    """

    def __init__(self, slight: bool = False) -> None:
        self._node: type[Node] = SlightNode if slight else Node
        self._nodes: dict[str, Node] = {}
        self._naming: dict[str, tuple[str, str]] = {}
        self.counts: dict[str, int] = {}

    def add(self, text: str | bytes, name: str | None = None) -> str:
        """Take one message, as it was on the wire, and return its class.

        Args:
            text: The message.
            name: Its class, where the message itself does not say it, as answers of REST do not.

        Raises:
            DataFormatError: It is not JSON.
        """
        message = read_message(text)
        return self._add(message if name is None else message._replace(name=name, naming=None))

    def _add(self, message: Message) -> str:
        name = message.name
        self._nodes.setdefault(name, self._node()).add_object(message.document)
        self.counts[name] = self.counts.get(name, 0) + 1
        if message.naming is not None:
            self._naming[name] = message.naming, message.document[message.naming]
        return name

    def schemas(self) -> dict[str, JSON]:
        """Return the schema of each class, by its name."""
        return {name: self._schema(name) for name in sorted(self._nodes)}

    def _schema(self, name: str) -> JSON:
        schema = self._nodes[name].to_schema()
        if name in self._naming:
            member, value = self._naming[name]
            schema["properties"][member] = {"type": "string", "enum": [value]}
        return _arranged({"$schema": DIALECT, "title": name, **schema})


def _arranged(schema: JSON) -> JSON:
    """Return a schema with its keywords in order, at every depth."""
    made: dict[str, JSON] = {}
    for keyword in sorted(schema, key=_ORDER.index):
        value = schema[keyword]
        if keyword == "properties":
            value = {name: _arranged(value[name]) for name in sorted(value)}
        elif keyword in ("prefixItems", "anyOf"):
            value = [_arranged(inner) for inner in value]
        elif keyword == "items":
            value = _arranged(value)
        made[keyword] = value
    if "anyOf" in made:
        made["anyOf"].sort(key=json.dumps)
    return made
