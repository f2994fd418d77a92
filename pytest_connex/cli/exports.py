"""``connex export``: show a recording to other tools."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from .. import GENERATOR
from ..config import live_config, read_environment
from ..errors import CassetteError, ConfigError
from .recording import SUFFIXES, beside, counted, redactor_of, refuse_to_replace, stem_of


def export(
    file: Annotated[Path, typer.Argument(help="A recording; its HTTP half beside it is taken along.")],
    har: Annotated[bool, typer.Option("--har", help="Write a HAR, which browsers and mitmproxy open.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="Where to; else FILE with .har in the end.")
    ] = None,
    rewrite: Annotated[bool, typer.Option(help="Replace a file that exists.")] = False,
) -> None:
    """Write a recording as a HAR; connex import reads the same recording back from it."""
    try:
        if not har:
            raise ConfigError("say in which format: --har is the one there is")
        stem = stem_of(file)
        target = output or beside(stem, ".har")
        refuse_to_replace(target, rewrite)
        _write(stem, target)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex export: {exc}", err=True)
        raise typer.Exit(2) from None


def _write(stem: Path, target: Path) -> None:
    from ..cassette.http_file import read_http
    from ..cassette.library import recorded_at
    from ..cassette.store import Recording
    from ..cassette.writing import Writer, put_in_place
    from ..foreign.har import write_har

    recording = Recording(beside(stem, SUFFIXES[0]))
    http_path = beside(stem, SUFFIXES[1])
    http = read_http(http_path) if http_path.exists() else None
    base = recorded_at(recording.path) or datetime.fromtimestamp(0, UTC)
    writer = Writer(target, redactor_of(live_config(read_environment(Path(".env")), allow_plaintext=True)))
    try:
        for line in write_har(recording, http, GENERATOR, base):
            writer.write_line(line)
        writer.finish()
        put_in_place([writer], [])
    except BaseException:
        writer.discard()
        raise
    requests = len(http["interactions"]) if http is not None else 0
    held = f"{counted(len(recording.connections), 'connection')}, {counted(requests, 'request')}"
    typer.echo(f"written {target}: {held}", err=True)
