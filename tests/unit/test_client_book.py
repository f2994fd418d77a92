"""Followed books: subscribed, fed frame by frame, and failing for good at the first broken rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_connex.client.book import BookFeed
from pytest_connex.config import recorded_config
from pytest_connex.errors import BookError, ConnectionLost, DataFormatError, SubscriptionError
from pytest_connex.model import ErrorEvent, Frame, Heartbeat, Level, Snapshot, Subscribed, Update
from pytest_connex.protocol import Dialect, decimal_from

NOW = 1_700_000_000_000


def level(price: str, quantity: str = "1") -> Level:
    return Level(decimal_from(price), decimal_from(quantity))


def snapshot(symbol: str = "ETH/USDT", sequence: int = 1, **members: object) -> Snapshot:
    return Snapshot(symbol=symbol, sequence=sequence, bids=(level("10"),), asks=(level("11"),), **members)


def update(sequence: int, symbol: str = "ETH/USDT", price: str = "9", **members: object) -> Update:
    return Update(
        symbol=symbol, sequence=sequence, previous_sequence=sequence - 1, bids=(level(price),), asks=(), **members
    )


class Script:
    """Stands in for the client: gives what it was told, one after the other."""

    def __init__(self, *frames: Frame | Exception | str) -> None:
        self.config = replace(recorded_config(), ws_timeout=1.0)
        self.dialect = Dialect()
        self.connections = 1
        self.subscribed: list[tuple[str, int]] = []
        self._frames = list(frames)

    async def subscribe(self, symbol: str, depth: int, **exchange: str) -> Subscribed:
        self.subscribed.append((symbol, depth, *exchange.values()))
        return Subscribed(symbol=symbol, depth=depth)

    async def recv(self) -> Frame:
        frame = self._frames.pop(0)
        if frame == "reconnected":
            self.connections += 1
            return await self.recv()
        if isinstance(frame, Exception):
            raise frame
        return frame  # type: ignore[return-value]


async def test_a_book_is_subscribed_and_has_its_snapshot():
    ws = Script(Heartbeat(), snapshot(), update(2))
    book = await BookFeed(ws).open("ETH/USDT", depth=7)
    assert ws.subscribed == [("ETH/USDT", 7)]
    assert (book.best_bid, book.frames) == (level("10"), 1)


async def test_following_applies_so_many_frames_of_the_book():
    book = await BookFeed(Script(snapshot(), Heartbeat(), update(2), update(3), update(4))).open("ETH/USDT")
    await book.follow(2)
    assert (book.sequence, book.frames) == (3, 3)
    await book.follow()
    assert book.sequence == 4


async def test_frames_of_another_book_of_the_connection_go_there_and_are_not_lost():
    ws = Script(snapshot(), snapshot("BTC/USDT", 5), update(2), update(6, "BTC/USDT"), update(3))
    feed = BookFeed(ws)
    one, other = await feed.open("ETH/USDT"), await feed.open("BTC/USDT")
    await one.follow(2)
    assert (one.sequence, other.sequence) == (3, 6)
    await other.follow(1)
    assert (one.frames, other.frames) == (3, 2)


async def test_books_of_one_symbol_are_told_apart_by_exchange_and_depth():
    ws = Script(
        snapshot(exchange="binance"),
        update(2, exchange="binance"),  # of the book before, on its way while another is opened
        snapshot(sequence=100, exchange="okx"),
        snapshot(sequence=100, exchange="okx", depth=20),
        update(101, exchange="okx", depth=20),
        update(101, exchange="okx", depth=3),
        update(3, exchange="binance"),
        update(102, exchange="okx", depth=20),
    )
    feed = BookFeed(ws)
    books = [
        await feed.open("ETH/USDT", depth, exchange=name) for depth, name in ((3, None), (3, "okx"), (20, "okx"))
    ]
    await books[2].follow(2)
    assert ws.subscribed == [("ETH/USDT", 3), ("ETH/USDT", 3, "okx"), ("ETH/USDT", 20, "okx")]
    assert [book.sequence for book in books] == [3, 101, 102]


async def test_a_gateway_that_names_no_depth_feeds_the_book_that_was_opened_last():
    ws = Script(snapshot(), snapshot(sequence=50), update(51))
    feed = BookFeed(ws)
    first, second = await feed.open("ETH/USDT", 3), await feed.open("ETH/USDT", 20)
    await second.follow()
    assert (first.sequence, second.sequence) == (1, 51)


@pytest.mark.parametrize("code", [1000, 1001])
async def test_iterating_yields_each_frame_until_the_connection_closes_normally(code):
    ws = Script(snapshot(), update(2), update(3), ConnectionLost("bye", code))
    book = await BookFeed(ws).open("ETH/USDT")
    assert [frame.sequence async for frame in book] == [2, 3]


async def test_a_connection_that_is_lost_otherwise_is_an_error():
    book = await BookFeed(Script(snapshot(), ConnectionLost("gone", 1006))).open("ETH/USDT")
    with pytest.raises(ConnectionLost):
        async for _ in book:
            pass


async def test_a_broken_rule_is_raised_and_the_first_is_remembered():
    feed = BookFeed(Script(snapshot(), update(3), update(2)))
    book = await feed.open("ETH/USDT")
    for _ in range(2):
        with pytest.raises(BookError):
            await book.follow()
    assert isinstance(feed.broken, BookError)
    assert (feed.broken.rule, feed.broken.frame) == ("sequence", 2)


async def test_a_message_that_is_no_frame_is_remembered_too():
    feed = BookFeed(Script(snapshot(), DataFormatError("not JSON")))
    book = await feed.open("ETH/USDT")
    with pytest.raises(DataFormatError, match="not JSON"):
        await book.follow()
    assert str(feed.broken) == "not JSON"


async def test_a_frame_of_a_symbol_that_nobody_follows_breaks_a_rule():
    book = await BookFeed(Script(snapshot(), update(2, "BTC/USDT"))).open("ETH/USDT")
    with pytest.raises(BookError, match="'symbol': expected ETH/USDT, found BTC/USDT"):
        await book.follow()


async def test_an_error_event_is_raised_as_what_it_stands_for():
    book = await BookFeed(Script(snapshot(), ErrorEvent(code="shutdown", message="later"))).open("ETH/USDT")
    with pytest.raises(SubscriptionError, match="shutdown: later"):
        await book.follow()


async def test_a_snapshot_that_does_not_come_is_not_waited_for_for_ever():
    with pytest.raises(TimeoutError, match=r"no snapshot of ETH/USDT within 1 s"):
        await BookFeed(Script(update(2), TimeoutError("nothing"))).open("ETH/USDT")


async def test_after_a_reconnection_the_book_begins_anew():
    ws = Script(snapshot(timestamp=NOW), "reconnected", snapshot(sequence=50, timestamp=NOW - 9), update(51))
    book = await BookFeed(ws).open("ETH/USDT")
    await book.follow(2)
    assert (book.sequence, book.synchronized) == (51, True)


async def test_rules_are_those_that_were_asked_for():
    feed = BookFeed(Script(snapshot(), update(7)))
    book = await feed.open("ETH/USDT", skip={"sequence"})
    await book.follow()
    assert (book.sequence, feed.broken) == (7, None)


async def test_the_age_of_frames_counts_only_where_there_is_a_clock():
    old = snapshot(timestamp=NOW - 501)
    assert (await BookFeed(Script(old)).open("ETH/USDT", max_age=500)).synchronized
    with pytest.raises(BookError, match="'stale'"):
        await BookFeed(Script(old), lambda: NOW).open("ETH/USDT", max_age=500)
    assert (await BookFeed(Script(old), lambda: NOW).open("ETH/USDT")).synchronized
