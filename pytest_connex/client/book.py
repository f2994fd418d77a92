"""Order books that are fed by a WebSocket client.

What a book is, and which rules its frames follow, is :mod:`pytest_connex.book.orderbook`'s business; this module
subscribes, and leads each frame of a connection to the book it belongs to.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection

from ..book.checksum import Checksum
from ..book.orderbook import OrderBook
from ..book.rules import Sequencing
from ..errors import ConnectionLost, DataFormatError
from ..model import ErrorEvent, Snapshot, Update
from .websocket import ConnexWebSocket

_NORMAL = (1000, 1001)


class FollowedBook(OrderBook):
    """An order book that takes its frames from a subscription; :meth:`BookFeed.open` makes it.

    It moves only while a test waits for it, or for another book of the same connection.
    """

    _feed: BookFeed
    _taken: deque[Snapshot | Update]

    async def follow(self, frames: int = 1) -> None:
        """Wait until ``frames`` more frames of this book have been applied.

        Raises:
            BookError: A frame breaks a rule.
            TimeoutError: None came in time.
            ConnectionLost: The connection closed.
        """
        for _ in range(frames):
            await self._next()

    async def __aiter__(self) -> AsyncIterator[Snapshot | Update]:
        """Yield each frame when it has been applied, until the connection closes normally (1000 or 1001)."""
        while True:
            try:
                frame = await self._next()
            except ConnectionLost as exc:
                if exc.code in _NORMAL:
                    return
                raise
            yield frame

    async def _next(self) -> Snapshot | Update:
        while not self._taken:
            await self._feed.read(self)
        return self._taken.popleft()


class BookFeed:
    """The followed books of one connection.

    Args:
        ws: The connection; whatever else it is used for, every frame that it receives must be read by the feed.
        clock: Returns the time in epoch milliseconds; without it no frame is too old.

    Attributes:
        broken: The first error in what was received, whatever became of it.
    """

    def __init__(self, ws: ConnexWebSocket, clock: Callable[[], int] | None = None) -> None:
        self.broken: DataFormatError | None = None
        self._ws = ws
        self._clock = clock
        self._connections = ws.connections
        self._books: dict[tuple[str, str | None, int], FollowedBook] = {}

    async def open(
        self,
        symbol: str,
        depth: int = 50,
        *,
        exchange: str | None = None,
        sequence: Sequencing | None = "linked",
        checksum: Checksum | None = None,
        locked: bool = False,
        skip: Collection[str] = (),
        max_age: int | None = None,
    ) -> FollowedBook:
        """Subscribe, and return the book when it has its first snapshot.

        The arguments are those of :class:`~pytest_connex.book.orderbook.OrderBook`; ``max_age`` counts in live
        runs only.

        Raises:
            BookError: A frame breaks a rule.
            SubscriptionError: The gateway refused.
            TimeoutError: There was no snapshot in time.
        """
        book = FollowedBook(
            symbol,
            exchange,
            depth=depth,
            sequence=sequence,
            checksum=checksum,
            locked=locked,
            skip=skip,
            max_age=None if self._clock is None else max_age,
            clock=None if max_age is None else self._clock,
        )
        book._feed, book._taken = self, deque()
        await self._ws.subscribe(symbol, depth, **({} if exchange is None else {"exchange": exchange}))
        self._books[symbol, exchange, depth] = book
        seconds = self._ws.config.ws_timeout
        try:
            async with asyncio.timeout(seconds):
                while not book.synchronized:
                    await self.read(book)
        except TimeoutError as exc:
            raise TimeoutError(f"no snapshot of {symbol} within {seconds:g} s") from exc
        book._taken.clear()
        return book

    async def read(self, waiting: FollowedBook) -> None:
        """Receive one message, and apply it to the book that it belongs to, or to ``waiting`` where there is none.

        Raises:
            DataFormatError: It is no frame, or breaks a rule.
            ConnexError: The gateway sent an error.
        """
        try:
            frame = await self._ws.recv()
            if self._ws.connections != self._connections:
                self._connections = self._ws.connections
                for each in self._books.values():
                    each.restart()
            if isinstance(frame, ErrorEvent):
                raise self._ws.dialect.error_from(frame)
            if isinstance(frame, Snapshot | Update):
                book = self._book_of(frame, waiting)
                book.apply(frame)
                book._taken.append(frame)
        except DataFormatError as exc:
            self.broken = self.broken or exc
            raise

    def _book_of(self, frame: Snapshot | Update, waiting: FollowedBook) -> FollowedBook:
        """Return the book that a frame fits best, by what it says of itself; the latest where several are left."""
        fitting = {key: book for key, book in self._books.items() if book.symbol == frame.symbol}
        tests: tuple[Callable[[int, FollowedBook], bool], ...] = (
            lambda depth, book: book.exchange == frame.exchange,
            lambda depth, book: book.exchange in (None, frame.exchange),
            lambda depth, book: depth == frame.depth,
            lambda depth, book: book.synchronized is isinstance(frame, Update),
        )
        for fits in tests:
            fitting = {key: book for key, book in fitting.items() if fits(key[2], book)} or fitting
        return next(reversed(fitting.values()), waiting)
