"""What the commands have in common that write recordings: names of files, credentials, and how Ctrl-C ends them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .. import GENERATOR
from ..config import API_KEY, API_SECRET, ConnexConfig
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..secrets.redaction import Redactor

SUFFIXES = (".ws.jsonl", ".yaml")


def stem_of(file: Path) -> Path:
    """Return the name of a recording without the suffix of either of its files."""
    for suffix in SUFFIXES:
        if file.name.endswith(suffix) and file.name != suffix:
            return file.with_name(file.name.removesuffix(suffix))
    return file


def beside(stem: Path, suffix: str) -> Path:
    """Return a file of a recording."""
    return stem.with_name(stem.name + suffix)


def refuse_to_replace(path: Path, rewrite: bool) -> None:
    """Leave a file alone that exists, unless it is to be replaced.

    Raises:
        ConfigError: It exists.
    """
    if path.exists() and not rewrite:
        raise ConfigError(f"{path} exists: add --rewrite to replace it")


def require_credentials(config: ConnexConfig) -> None:
    """Refuse to record with credentials that are not known, and so cannot be kept out.

    Raises:
        ConfigError: One is not set.
    """
    if absent := config.missing(API_KEY, API_SECRET):
        raise ConfigError(
            f"{' and '.join(absent)} not set: they are needed to keep them out of the recording. Set what the "
            "program uses, or add --no-credentials where it uses none"
        )


def redactor_of(config: ConnexConfig) -> Redactor:
    """Return what keeps the credentials out, what the dialect calls secret, and what is learned from that.

    Raises:
        ConfigError: One is too short to be replaced.
    """
    from ..protocol import Dialect
    from ..secrets.learning import redactor_for

    return redactor_for(Dialect(), config.placeholders())


def facts(source: str, command: str, moment: datetime) -> dict[str, str]:
    """Return what a recording says of itself."""
    return {
        "recorded_at": moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "source": source,
        "generator": GENERATOR,
        "test": command,
    }


def counted(count: int, thing: str) -> str:
    """Return how many there are of a thing."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Wait for Ctrl-C or SIGTERM; another one, until the process has ended, does not hinder that."""
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            typer.echo("stopping already", err=True)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if stopped.is_set() else handler)
