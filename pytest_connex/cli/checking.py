"""What ``connex book check`` does: it holds the books of recordings against their rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..book.orderbook import OrderBook
from ..cassette.events import Event, Received
from ..cassette.store import Recording
from ..errors import CassetteError, DataFormatError
from ..model import Snapshot, Subscribed, Update
from ..protocol import Dialect


class Check:
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
