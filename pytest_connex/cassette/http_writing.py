"""Writing HTTP recordings: cassettes of VCR, whose interactions are JSON on lines of their own.

JSON is YAML in its flow style but for a few characters, which are escaped, and what is no text, which stands behind
YAML's tag for that. So plain VCR.py reads these files, and :mod:`~pytest_connex.cassette.http_file` reads them
quickly.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..secrets.redaction import Redactor
from ..upstreams import REST
from .events import VERSION
from .exchange import NOT_ANSWERED, Fields, Interaction
from .http_file import UNPRINTABLE
from .writing import Writer

_LONGEST_KEY = 1_000
"""Longer keys are marked as such: YAML takes 1,024 characters for one that is not."""

_PART = 3 * 2**18
"""So much of a body is encoded at once; a number of bytes that base64 writes without padding."""


def encoded(interaction: Interaction) -> Iterator[bytes]:
    """Yield an interaction as it is written, from its dash to the end of its line.

    Raises:
        UnicodeEncodeError: It has half of a surrogate pair, which YAML cannot hold.
    """
    request = interaction.request
    status = NOT_ANSWERED if interaction.status is None else interaction.status
    yield (
        f'- {{"request": {{"method": {_string(request.method)}, "uri": {_string(request.url)}, '
        f'"headers": {_headers(request.headers)}, "body": '
    ).encode()
    yield from _body(request.body) if request.body else [b"null"]
    yield (
        f'}},\n   "response": {{"status": {{"code": {status}, "message": {_string(interaction.reason)}}}, '
        f'"headers": {_headers(interaction.headers)}, "body": {{"string": '
    ).encode()
    yield from _body(interaction.body)
    ours = ", ".join(_ours(interaction))
    yield f'}}}},\n   "connex": {{{ours}}}}}\n'.encode()


def seconds(at: float) -> str:
    """Return a time as it is written, which is a number in YAML too: with a point and without an exponent."""
    whole, _, fraction = f"{at:.6f}".partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def _ours(interaction: Interaction) -> Iterator[str]:
    """Yield the members that other readers leave alone."""
    for name, at in (("asked", interaction.asked), ("answered", interaction.answered)):
        if at is not None:
            yield f'"{name}": {seconds(at)}'
    if interaction.upstream != REST:
        yield f'"upstream": {_string(interaction.upstream)}'
    names = [name for name, _ in interaction.headers]
    if names != sorted(names, key=names.index):
        yield f'"order": {_list(names)}'
    if interaction.pieces:
        pieces = ", ".join(f"[{seconds(at)}, {length}]" for at, length in interaction.pieces)
        yield f'"pieces": [{pieces}]'
    if interaction.over is not None:
        yield f'"over": {seconds(interaction.over)}'
    if interaction.ended != "whole":
        yield f'"ended": "{interaction.ended}"'
    if interaction.error:
        yield f'"error": {_string(interaction.error)}'
    if interaction.errno is not None:
        yield f'"errno": {interaction.errno}'


def _headers(fields: Fields) -> str:
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return f"{{{', '.join(f'{_key(name)}: {_list(held)}' for name, held in values.items())}}}"


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_string, texts))}]"


def _key(name: str) -> str:
    written = _string(name)
    return f"? {written} " if len(written) > _LONGEST_KEY else written


def _body(body: bytes) -> Iterator[bytes]:
    """Yield a body as a string, or behind a tag where it is no text."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        yield b'!!binary "'
        for start in range(0, len(body), _PART):
            yield base64.b64encode(memoryview(body)[start : start + _PART])
    else:
        yield b'"'
        for start in range(0, len(text), _PART):
            yield _string(text[start : start + _PART])[1:-1].encode()
    yield b'"'


def _string(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return UNPRINTABLE.sub(_escaped, written) if not written.isascii() or "\x7f" in written else written


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


class HttpWriter(Writer):
    """Writes an HTTP recording.

    Args:
        path: Where it is to be.
        redactor: Searches what the recording says of itself.
        facts: That.
        count: How many interactions there are.
        interactions: The bytes of them, in whole lines, which have been searched for secrets.
    """

    def __init__(
        self, path: Path, redactor: Redactor, facts: Mapping[str, Any], count: int, interactions: Iterable[bytes]
    ) -> None:
        super().__init__(path, redactor)
        self._learned = 0  # what it writes has been searched before
        self._facts = {**facts, "interactions": count, "version": VERSION}
        self._interactions = interactions

    def finish(self) -> None:
        """Write all of it, and close the file.

        Raises:
            SecretFound: What the recording says of itself carries a secret.
            CassetteError: The disk does not take it.
        """
        head = yaml.safe_dump({"connex": self._facts}, width=float("inf"), allow_unicode=True)
        for line in head.rstrip("\n").split("\n"):
            self.write_line(line.encode())
        self.write_line(b"interactions:")
        for part in self._interactions:
            self.write_searched(part, part.count(b"\n"))
        self.write_line(b"version: 1")
        super().finish()
