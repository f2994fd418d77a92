"""``connex decimals``: how the numbers in recordings are written, and what a float would do to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import CassetteError, ConfigError, DataFormatError
from .captured import SKIP_HELP, captured


def decimals(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings, of WebSocket or HTTP, or folders of them.")
    ],
    skip: Annotated[bool, typer.Option("--skip", help=SKIP_HELP)] = False,
) -> None:
    """Print, for every place where numbers stand, how they are written, and whether a float would keep them."""
    from ..schema.decimals import Audit, table, verdict

    audit = Audit()
    try:
        captured(files, skip, audit.add)
    except (CassetteError, ConfigError, DataFormatError) as exc:
        typer.echo(f"connex decimals: {exc}", err=True)
        raise typer.Exit(2) from None
    for line in table(audit):
        typer.echo(line)
    typer.echo()
    for line in verdict(audit):
        typer.echo(line)
