"""Writing recordings so that no half file and no secret can be left behind.

A writer fills a temporary file beside the recording's place; every line is searched for secrets before it is
written. :meth:`~Writer.finish` completes the file, and only :meth:`~Writer.commit` puts it into its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..errors import CassetteError
from .events import End, Event, Header
from .redaction import Redactor

_encoder = msgspec.json.Encoder()


class Writer:
    """Writes one file, line by line."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path = path
        self.lines = 0
        self._redactor = redactor
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._temporary.open("wb")

    def write_line(self, line: bytes) -> None:
        """Write one line.

        Raises:
            SecretFound: It carries a secret.
            CassetteError: The disk does not take it.
        """
        self._redactor.check(line, self.path, self.lines + 1)
        with self._errors():
            self._file.write(line + b"\n")
        self.lines += 1

    def finish(self) -> None:
        """Complete and close the file; it is not in its place yet."""
        with self._errors():
            self._file.close()

    def commit(self) -> None:
        """Put the finished file into its place."""
        with self._errors():
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Throw away what was written; a recording that was there before is as it was."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise CassetteError(f"the recording cannot be written: {exc.strerror}", self.path) from exc


class CassetteWriter(Writer):
    """Writes a WebSocket recording, event by event."""

    def __init__(self, path: Path, header: Header, redactor: Redactor) -> None:
        super().__init__(path, redactor)
        try:
            self.write_line(_encoder.encode(header))
        except CassetteError:
            self.discard()
            raise

    def write(self, event: Event) -> None:
        """Write one event."""
        self.write_line(_encoder.encode(event))

    def finish(self) -> None:
        """Write the last line, which counts the events, and close the file."""
        self.write_line(_encoder.encode(End(self.lines - 1)))
        super().finish()


class TextWriter(Writer):
    """Writes a recording that exists as a whole: HTTP."""

    def __init__(self, path: Path, text: str, redactor: Redactor) -> None:
        super().__init__(path, redactor)
        self._text = text

    def finish(self) -> None:
        """Write the text and close the file."""
        redactor_lines = self._text.encode().splitlines()
        for line in redactor_lines:
            self.write_line(line)
        super().finish()
