"""``connex import``: make a recording of what another tool has captured."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..config import REST_URL, VARIABLES, WS_URL, live_config, read_environment
from ..errors import CassetteError, ConfigError
from ..foreign.formats import Format
from .recording import SUFFIXES, beside, refuse_to_replace, stem_of


def import_(
    file: Annotated[Path, typer.Argument(help="A HAR, flows of mitmproxy, or lines of a time and a text.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Write OUT.ws.jsonl and OUT.yaml; else beside FILE."),
    ] = None,
    origin: Annotated[str, typer.Option(help="The WebSocket that was Connex; without it CONNEX_WS_URL.")] = "",
    rest_origin: Annotated[
        str, typer.Option(help="The REST API that was Connex; without it CONNEX_REST_URL. Other HTTP is left out.")
    ] = "",
    format: Annotated[Format | None, typer.Option(help="What FILE is; without it, its beginning tells.")] = None,
    rewrite: Annotated[bool, typer.Option(help="Replace a recording that exists.")] = False,
) -> None:
    """Turn a capture of another tool into a recording: messages as they were, without secrets.

    Known are the secrets of the environment and of .env, and whatever stands in headers and members that are always
    replaced.
    """
    from .importing import Import, opened, traffic

    try:
        values = read_environment(Path(".env"))
        values |= {name: url for name, url in ((WS_URL, origin), (REST_URL, rest_origin)) if url}
        config = live_config({name: values[name] for name in VARIABLES if name in values}, allow_plaintext=True)
        stem = stem_of(output) if output is not None else _stem_beside(file)
        for suffix in SUFFIXES:
            refuse_to_replace(beside(stem, suffix), rewrite)
        with closing(Import(config, stem)) as work, opened(file) as capture:
            work.run(traffic(capture, file, format), file)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex import: {exc}", err=True)
        raise typer.Exit(2) from None


def _stem_beside(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(file.suffix).removesuffix(".ws"))
