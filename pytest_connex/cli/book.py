"""``connex book``: hold recorded order books against their rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ..book.checksum import CHECKSUMS
from ..book.orderbook import RULES, SEQUENCINGS, OrderBook
from ..cassette.events import Event, Received
from ..cassette.store import Recording
from ..errors import CassetteError, ConfigError, DataFormatError
from ..model import Snapshot, Subscribed, Update
from ..protocol import Dialect

app = typer.Typer(no_args_is_help=True, help="Hold order books against their rules.")

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
    checked = _Check(rules, depth)
    for file in files:
        for line in checked.broken(file):
            typer.echo(line)
    typer.echo(f"{checked.frames} frames of {checked.books} books checked, {checked.count} broken rules")
    if checked.count:
        raise typer.Exit(1)


class _Check:
    """Applies what was received to books, and counts."""

    def __init__(self, rules: dict[str, Any], depth: int | None) -> None:
        self.frames = self.books = self.count = 0
        self._rules = rules
        self._depth = depth
        self._parse = Dialect().parse

    def broken(self, file: Path) -> Iterator[str]:
        """Yield a line for every broken rule of a recording, for every frame that is none, and if it is damaged."""
        try:
            for connection in Recording(file).connections:
                for line, error in self._connection(connection.events()):
                    self.count += 1
                    yield f"{file}:{line}: connection {connection.number}: {error}"
        except CassetteError as exc:
            self.count += 1
            yield str(exc)

    def _connection(self, events: Iterable[tuple[int, Event]]) -> Iterator[tuple[int, DataFormatError]]:
        books: dict[str, OrderBook] = {}
        depths: dict[str, int] = {}
        errors: list[DataFormatError] = []
        for line, event in events:
            if not isinstance(event, Received) or event.text is None:
                continue
            try:
                frame = self._parse(event.text)
            except DataFormatError as exc:
                yield line, exc
                continue
            if isinstance(frame, Subscribed) and frame.symbol is not None:
                books.pop(frame.symbol, None)  # what follows is another stream
                if frame.depth is not None:
                    depths[frame.symbol] = frame.depth
            elif isinstance(frame, Snapshot | Update):
                symbol = frame.symbol
                if symbol not in books:
                    self.books += 1
                    depth = self._depth or depths.get(symbol)
                    books[symbol] = OrderBook(symbol, depth=depth, report=errors.append, **self._rules)
                self.frames += 1
                books[symbol].apply(frame)
                yield from ((line, error) for error in errors)
                errors.clear()


def _refuse(message: str) -> NoReturn:
    typer.echo(f"connex book: {message}", err=True)
    raise typer.Exit(2)
