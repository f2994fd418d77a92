"""The command ``connex``: what is useful outside of a test run."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import GENERATOR
from .book import app as book
from .capture import capture
from .cassettes import app as cassettes
from .decimals import decimals
from .exports import export
from .imports import import_
from .proxy import proxy
from .sandbox import sandbox
from .schema import app as schema

app = typer.Typer(
    rich_markup_mode=None, name="connex", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
app.command()(sandbox)
app.command()(proxy)
app.command()(capture)
app.command("import")(import_)
app.command()(export)
app.command()(decimals)
app.add_typer(cassettes, name="cassettes")
app.add_typer(book, name="book")
app.add_typer(schema, name="schema")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(GENERATOR)
        raise typer.Exit


@app.callback()
def connex(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tools for testing Connex integrations."""
