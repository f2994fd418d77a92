"""``connex book``: hold recorded order books against their rules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..book.checksum import CHECKSUMS
from ..book.rules import RULES, SEQUENCINGS
from ..errors import ConfigError

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Hold order books against their rules.")

_NONE = "none"


@app.callback()
def book() -> None:
    """Hold order books against their rules."""


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings, *.ws.jsonl.")],
    sequence: Annotated[
        str, typer.Option(help=f"How sequences follow on each other: {', '.join(SEQUENCINGS)}; or none.")
    ] = "linked",
    checksum: Annotated[
        str, typer.Option(help=f"Whose checksum frames have: {', '.join(CHECKSUMS)}; or none.")
    ] = _NONE,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Levels a side; without it, what the gateway said it subscribed.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="RULE", help=f"Do not check: {', '.join(RULES)}; repeatable.")
    ] = None,
    locked: Annotated[bool, typer.Option(help="The best bid may be the best ask.")] = False,
) -> None:
    """Print every broken rule with file and line; exit with 1 if there is one.

    Each connection has a book of its own for each symbol. What is no book, such as a pong, is passed over.
    """
    from ..book.orderbook import OrderBook
    from .checking import Check

    if checksum not in (*CHECKSUMS, _NONE):
        _refuse(f"there is no checksum {checksum!r}; there are {', '.join(CHECKSUMS)}, none")
    rules: dict[str, Any] = {
        "sequence": None if sequence == _NONE else sequence,
        "checksum": CHECKSUMS.get(checksum),
        "skip": skip or (),
        "locked": locked,
    }
    try:
        OrderBook(**rules)
    except ConfigError as exc:
        _refuse(str(exc))
    checked = Check(rules, depth)
    for file in files:
        for line in checked.broken(file):
            typer.echo(line)
    typer.echo(f"{checked.frames} frames of {checked.books} books checked, {checked.count} broken rules")
    if checked.count:
        raise typer.Exit(1)


def _refuse(message: str) -> NoReturn:
    typer.echo(f"connex book: {message}", err=True)
    raise typer.Exit(2)
