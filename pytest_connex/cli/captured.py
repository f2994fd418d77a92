"""What the commands read that look at messages: recordings, and folders of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import typer

from ..errors import ConfigError, DataFormatError

SKIP_HELP = "Leave out messages that are not JSON, and say how many; without it they are an error."


def captured(files: Iterable[Path], skip: bool, take: Callable[[str | bytes, str | None], object]) -> None:
    """Pass every message of some recordings, and the class where the recording says it, to ``take``.

    Raises:
        ConfigError: A file is not there, or a folder holds no recordings.
        CassetteError: A recording cannot be read.
        DataFormatError: ``take`` refused a message; with its place. None if ``skip`` is set.
    """
    from ..schema.recordings import captured_in

    skipped = 0
    for file in _recordings(files):
        for place, name, text in captured_in(file):
            try:
                take(text, name)
            except DataFormatError as exc:
                if not skip:
                    raise DataFormatError(f"{place}: {exc}\nleave out what is not JSON with --skip") from exc
                skipped += 1
    if skipped:
        typer.echo(f"{skipped} messages are not JSON and were left out", err=True)


def _recordings(files: Iterable[Path]) -> list[Path]:
    from ..cassette.library import recordings_in

    found: list[Path] = []
    for file in files:
        if not file.exists():
            raise ConfigError(f"there is no {file}")
        inside = recordings_in(file) if file.is_dir() else [file]
        if not inside:
            raise ConfigError(f"there are no recordings in {file}")
        found += inside
    return found
