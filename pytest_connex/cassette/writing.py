"""Writing recordings so that no half file and no secret can be left behind.

A writer fills a temporary file beside the recording's place; every line is searched for secrets before it is
written, many of them at once. :meth:`~Writer.finish` completes the file, and only :func:`put_in_place` puts
finished files into their places: all of them, or none.
"""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ..errors import CassetteError, SecretFound
from ..secrets.redaction import Redactor
from .events import End, Event, Header, Late, Message, Received, Sent

_BATCH = 65_536
"""So many bytes are searched and written at once."""

_LARGE = 4_096
"""So many bytes of a binary message are searched as they are, which is quicker than as base64."""

_encoder = msgspec.json.Encoder()


class Writer:
    """Writes one file, line by line."""

    _separate = False
    """Whether each line is a document of its own."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self.path = path
        self.lines = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._redactor = redactor
        self._learned = redactor.learned
        self._target = Path(os.path.realpath(path))
        self._temporary = self._beside("tmp")
        self._backup = self._beside("old.tmp")
        with self._errors():
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._file = self._temporary.open("wb")

    @property
    def finished(self) -> Path:
        """Where the file is before it takes its place."""
        return self._temporary

    def write_line(self, line: bytes) -> None:
        """Write one line, now or with others later.

        Raises:
            SecretFound: It, or one before it, carries a secret.
            CassetteError: The disk does not take it.
        """
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self.lines += 1
        if self._waiting_bytes >= _BATCH:
            self.flush()

    def write_searched(self, lines: bytes, count: int) -> None:
        """Write ``count`` whole lines that have been searched for secrets already.

        Raises:
            SecretFound: A line before them carries a secret.
            CassetteError: The disk does not take them.
        """
        self.flush()
        self.lines += count
        with self._errors():
            self._file.write(lines)

    def flush(self) -> None:
        """Search what has not been written yet, and write it.

        Raises:
            SecretFound: A line carries a secret.
            CassetteError: The disk does not take it.
        """
        if not self._waiting:
            return
        lines, first = self._waiting, self.lines - len(self._waiting) + 1
        self._waiting, self._waiting_bytes = [], 0
        self._search(lines, first)
        with self._errors():
            self._file.write(b"\n".join([*lines, b""]))

    def finish(self) -> None:
        """Complete and close the file; it is not in its place yet.

        Raises:
            SecretFound: A line carries a secret that was learned after it was written.
            CassetteError: The disk does not take it.
        """
        self.flush()
        with self._errors():
            self._file.close()
        if self._redactor.learned > self._learned:
            with self._errors(), self._temporary.open("rb") as written:
                first = 1
                while lines := written.readlines(_BATCH):
                    self._search([line.removesuffix(b"\n") for line in lines], first)
                    first += len(lines)

    def _search(self, lines: Sequence[bytes], first: int) -> None:
        """Refuse lines with a secret; the first of them has the number ``first``."""
        try:
            self._redactor.check(b"\n".join(lines), self.path, first, separate=self._separate)
        except SecretFound:
            for number, line in enumerate(lines, start=first):
                self._redactor.check(line, self.path, number)
            raise

    def commit(self) -> None:
        """Put the finished file into its place; what was there can be had back until :meth:`settle`."""
        with self._errors():
            if self._target.exists():
                self._backup.unlink(missing_ok=True)
                os.link(self._target, self._backup)
            os.replace(self._temporary, self._target)

    def roll_back(self) -> None:
        """Take back a commit."""
        with suppress(OSError):
            if self._backup.exists():
                os.replace(self._backup, self._target)
            else:
                self._target.unlink()

    def settle(self) -> None:
        """Let go of what was there before."""
        with suppress(OSError):
            self._backup.unlink()

    def discard(self) -> None:
        """Throw away what was written; a recording that was there before is as it was."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink()

    def _beside(self, ending: str) -> Path:
        return self._target.with_name(f".{self._target.name}.{os.getpid()}.{ending}")

    def _sweep(self) -> None:
        """Remove what runs that were killed have left of this recording."""
        for left in self._target.parent.glob(f".{glob.escape(self._target.name)}.*.tmp"):
            process = left.name.removeprefix(f".{self._target.name}.").partition(".")[0]
            if process.isdecimal() and not _is_alive(int(process)):
                left.unlink(missing_ok=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            cure = "Make room" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "Make the folder writable"
            raise CassetteError(
                f"the recording cannot be written: {exc.strerror}. {cure}, or choose another folder with "
                "--connex-cassette-dir",
                self.path,
            ) from exc


def put_in_place(writers: Sequence[Writer], obsolete: Iterable[Path]) -> list[Path]:
    """Put finished files into their places and remove ``obsolete`` ones: all of it, or nothing.

    Returns:
        Those of ``obsolete`` that were there.

    Raises:
        CassetteError: Something cannot be written; everything is as it was.
    """
    committed: list[Writer] = []
    try:
        for writer in writers:
            writer.commit()
            committed.append(writer)
    except CassetteError:
        for writer in committed:
            writer.roll_back()
        raise
    for writer in writers:
        writer.settle()
    removed = [path for path in obsolete if path.is_file()]
    for path in removed:
        try:
            path.unlink()
        except OSError as exc:
            raise CassetteError(
                f"the recording is not used any more, and cannot be removed: {exc.strerror}", path
            ) from exc
    return removed


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class CassetteWriter(Writer):
    """Writes a WebSocket recording, event by event."""

    _separate = True

    def __init__(self, path: Path, header: Header, redactor: Redactor) -> None:
        super().__init__(path, redactor)
        try:
            self.write_line(_encoder.encode(header))
            self.flush()
        except CassetteError:
            self.discard()
            raise

    def write(self, event: Event) -> None:
        """Write one event.

        Raises:
            SecretFound: It, or one before it, carries a secret.
            CassetteError: The disk does not take it.
        """
        line = _encoder.encode(event)
        binary = event.binary if isinstance(event, Sent | Received | Late) else None
        if binary is None or len(binary) < _LARGE:
            self.write_line(line)
        elif reason := self._redactor.refusal(binary, "this line", written=line):
            raise SecretFound(reason, self.path, self.lines + 1)
        else:
            self.write_searched(line + b"\n", 1)

    def write_messages(self, messages: Sequence[Message]) -> None:
        """Write messages that have been searched for secrets already."""
        self.write_searched(_encoder.encode_lines(messages), len(messages))

    def finish(self) -> None:
        """Write the last line, which counts the events, and close the file."""
        self.write_line(_encoder.encode(End(self.lines - 1)))
        super().finish()
