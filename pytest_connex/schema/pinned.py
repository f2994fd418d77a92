"""The schemas that are pinned in a folder: reading, writing, and holding messages against them."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigError, DataFormatError
from ..model import JSON
from ..protocol import decode_json
from .check import Checker, read_exactly
from .documents import SUFFIX, file_name, message_class

FOLDER = "schemas"
"""Where they are, below the folder of the recordings."""

_TOLD = 20
_SCALES = re.compile(r'("x-scale": )\[\s+([0-9]+),\s+([0-9]+)\s+\]')


class PinnedSchemas:
    """The schemas of a folder, each read when it is needed for the first time.

    They are written by ``connex schema infer`` and by nothing else: a run of tests, recording or not, holds messages
    against them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._checkers: dict[str, Checker] = {}

    def check(self, frame: str | bytes | JSON, name: str | None = None) -> str:
        """Hold one message against the schema of its class, and return the class.

        Args:
            frame: The text of the message, as it was on the wire; or what ``decode_json`` made of it.
            name: Its class, where the message does not say it itself, for example ``rest.v1.status``.

        Raises:
            DataFormatError: It breaks its schema, or is not JSON; the message says where.
            ConfigError: No schema is pinned for its class, or the pinned one cannot be used.
        """
        found, problems = self._problems(frame, name)
        if problems:
            raise DataFormatError(
                f"a message breaks the pinned schema of {found} ({self._path(found)}):\n" + _lines(problems)
            )
        return found

    def check_all(self, frames: Iterable[str | bytes | JSON], name: str | None = None) -> Counter[str]:
        """Hold messages against the schemas of their classes, and return how many of each class there were.

        Raises:
            DataFormatError: Some break their schema; the message has all of them, counted from 1.
            ConfigError: As for :meth:`check`.
        """
        counts: Counter[str] = Counter()
        broken = 0
        problems: list[str] = []
        for number, frame in enumerate(frames, start=1):
            try:
                found, violations = self._problems(frame, name)
            except DataFormatError as exc:
                raise DataFormatError(f"message {number}: {exc}") from exc
            counts[found] += 1
            broken += bool(violations)
            problems += (f"message {number}, {found}: {violation}" for violation in violations)
        if problems:
            raise DataFormatError(
                f"{broken} of {counts.total()} messages break their pinned schemas ({self.folder}):\n"
                + _lines(problems)
            )
        return counts

    def _problems(self, frame: str | bytes | JSON, name: str | None) -> tuple[str, list[str]]:
        payload = read_exactly(frame)
        found = message_class(payload) if name is None else name
        return found, list(map(str, self._checker(found).violations(payload)))

    def _checker(self, name: str) -> Checker:
        if name not in self._checkers:
            path = self._path(name)
            if not path.exists():
                raise ConfigError(
                    f"no schema is pinned for messages of class {name!r} ({path}): pin it from recordings that hold "
                    f"some, with: connex schema infer --out {shlex.quote(str(self.folder))} FILE..."
                )
            self._checkers[name] = read_schema(path)[1]
        return self._checkers[name]

    def _path(self, name: str) -> Path:
        return self.folder / file_name(name)


def read_schema(path: Path) -> tuple[JSON, Checker]:
    """Return a pinned schema, and what holds messages against it.

    Raises:
        ConfigError: It cannot be read, or is no JSON Schema.
    """
    try:
        schema = decode_json(path.read_bytes())
        return schema, Checker(schema)
    except OSError as exc:
        if isinstance(exc, ConfigError):
            raise ConfigError(f"{path}: {exc}") from exc
        raise ConfigError(f"{path}: the schema cannot be read: {exc.strerror}") from exc
    except DataFormatError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def read_schemas(path: Path) -> dict[str, JSON]:
    """Return the schemas of a file or of a folder, by the classes that they are for.

    Raises:
        ConfigError: One cannot be read, there is none, or two are for one class.
    """
    paths = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not paths:
        raise ConfigError(f"{path} holds no *{SUFFIX}")
    found: dict[str, JSON] = {}
    for file in paths:
        schema, _ = read_schema(file)
        title = schema.get("title")
        name = title if isinstance(title, str) else file.name.removesuffix(SUFFIX)
        if name in found:
            raise ConfigError(f"{file}: there is another schema for {name!r}; its title says what it is for")
        found[name] = schema
    return found


def write_schema(folder: Path, name: str, schema: JSON) -> tuple[Path, str]:
    """Pin a schema; return its file, and whether that is ``new``, ``changed`` or ``unchanged``.

    Raises:
        ConfigError: It cannot be written.
        DataFormatError: It could not be read again, because messages were nested too deep or hold broken text.
    """
    path = folder / file_name(name)
    text = rendered(schema)
    try:
        read_exactly(text)
    except DataFormatError as exc:
        raise DataFormatError(f"the schema of {name!a} could not be read again: {exc}") from exc
    try:
        before = path.read_bytes() if path.exists() else None
        if before == text.encode():
            return path, "unchanged"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    except OSError as exc:
        raise ConfigError(f"{path}: the schema cannot be written: {exc.strerror}") from exc
    return path, "new" if before is None else "changed"


def rendered(schema: JSON) -> str:
    """Return a schema as its file has it."""
    text = json.dumps(schema, indent=2, ensure_ascii=False)
    return _SCALES.sub(r"\1[\2, \3]", text) + "\n"


def _lines(problems: list[str]) -> str:
    shown = [f"  {problem}" for problem in problems[:_TOLD]]
    if len(problems) > _TOLD:
        shown.append(f"  ... and {len(problems) - _TOLD} more")
    return "\n".join(shown)
