"""The order book: what frames make of it, every rule broken and skipped, bad input, and real traffic."""

from __future__ import annotations

import functools
import random
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

import pytest

from pytest_connex.book.checksum import KRAKEN, OKX
from pytest_connex.book.orderbook import OrderBook
from pytest_connex.book.rules import RULES, SEQUENCINGS
from pytest_connex.errors import BookError, ConfigError, DataFormatError
from pytest_connex.model import Level, Snapshot, Update
from pytest_connex.protocol import Dialect

from .shared_data import binance_snapshots, binance_updates, needs_data, okx_frames

NOW = 1_700_000_000_000


def levels(*texts: str) -> tuple[Level, ...]:
    return tuple(Level(*map(Decimal, text.split())) for text in texts)


def snapshot(bids: str = "10 1, 9 2", asks: str = "11 3, 12 4", **members: Any) -> Snapshot:
    return Snapshot(**{"symbol": "ETH/USDT", "sequence": 1, "bids": side(bids), "asks": side(asks)} | members)


def update(bids: str = "", asks: str = "", **members: Any) -> Update:
    return Update(**{"symbol": "ETH/USDT", "bids": side(bids), "asks": side(asks)} | members)


def side(text: str) -> tuple[Level, ...]:
    return levels(*filter(None, text.split(", ")))


def book_of(*frames: Snapshot | Update, **rules: Any) -> OrderBook:
    book = OrderBook(**{"sequence": None} | rules)
    for frame in frames:
        book.apply(frame)
    return book


def shown(levels: tuple[Level, ...]) -> str:
    return ", ".join(f"{price} {quantity}" for price, quantity in levels)


def state(book: OrderBook) -> tuple[str, str]:
    return shown(book.bids), shown(book.asks)


# --- What frames make of it -------------------------------------------------------------------------------


def test_a_book_is_empty_before_its_first_snapshot():
    book = OrderBook()
    assert (book.bids, book.asks, book.best_bid, book.best_ask, book.spread, book.mid) == (
        (),
        (),
        None,
        None,
        None,
        None,
    )
    assert not book.synchronized


def test_a_snapshot_is_the_book():
    book = book_of(snapshot())
    assert state(book) == ("10 1, 9 2", "11 3, 12 4")
    assert book.synchronized


def test_an_update_sets_adds_and_deletes_levels():
    book = book_of(snapshot(), update("9 0, 10 5, 8.5 1", "11.5 2, 12 0"))
    assert state(book) == ("10 5, 8.5 1", "11 3, 11.5 2")


def test_deleting_a_level_that_is_not_there_is_normal():
    book = book_of(snapshot(), update("9.5 0", "99 0.000"))
    assert state(book) == ("10 1, 9 2", "11 3, 12 4")


def test_an_empty_level_of_a_snapshot_is_none():
    assert state(book_of(snapshot("10 1, 9 0", "11 0"))) == ("10 1", "")


def test_a_price_in_other_digits_is_the_same_level_and_keeps_the_last_digits():
    book = book_of(snapshot("10.0 1"), update("10.00 2.50"))
    assert shown(book.bids) == "10.00 2.50"


def test_the_book_is_cut_to_its_depth_after_every_frame():
    book = book_of(snapshot(), update("10.5 1", "10.8 1"), depth=2)
    assert state(book) == ("10.5 1, 10 1", "10.8 1, 11 3")
    book.apply(update("10.5 0", "10.8 0"))
    assert state(book) == ("10 1", "11 3")


def test_a_level_that_was_cut_off_comes_back_when_it_is_sent_again():
    book = book_of(snapshot(), update("10.5 1", "10.8 1"), update("10.5 0, 9 4", "10.8 0, 12 5"), depth=2)
    assert state(book) == ("10 1, 9 4", "11 3, 12 5")


def test_the_best_levels_the_spread_and_the_middle():
    book = book_of(snapshot("10.1 1", "10.4 2"))
    assert (book.best_bid, book.best_ask) == (*levels("10.1 1"), *levels("10.4 2"))
    assert (str(book.spread), str(book.mid)) == ("0.3", "10.25")


@pytest.mark.parametrize(("bids", "asks"), [("10 1", ""), ("", "11 1"), ("", "")])
def test_a_book_with_an_empty_side_has_no_spread_and_no_middle(bids, asks):
    book = book_of(snapshot(bids, asks))
    assert (book.spread, book.mid) == (None, None)
    assert (book.best_bid is None, book.best_ask is None) == (not bids, not asks)


def test_the_cumulative_depth_sums_the_quantities_from_the_best_level_on():
    book = book_of(snapshot("10 0.1, 9 0.2, 8 0.30", "11 1, 12 2"))
    assert shown(book.cumulative("bids")) == "10 0.1, 9 0.3, 8 0.60"
    assert shown(book.cumulative("asks")) == "11 1, 12 3"


def test_a_snapshot_replaces_the_book_and_merges_nothing():
    book = book_of(snapshot(), snapshot("7 1", "8 1"))
    assert state(book) == ("7 1", "8 1")


def test_updates_before_the_first_snapshot_are_not_applied():
    book = book_of(update("10 1"), update("9 1"))
    assert (state(book), book.synchronized, book.frames) == (("", ""), False, 2)


def test_frames_are_left_as_they_are():
    first = snapshot()
    book_of(first, update("10 0"))
    assert first == snapshot()


def test_sums_are_exact_however_many_digits_they_have():
    long = "1" * 400
    book = book_of(snapshot(f"{long} 0.{long}", f"{long}.5 1"))
    assert str(book.spread) == "0.5"
    assert str(book.mid) == f"{long}.25"
    book.apply(update(f"1 1{'0' * 400}"))
    assert str(book.cumulative("bids")[1].quantity) == f"1{'0' * 400}.{long}"


def test_a_sum_of_a_million_digits_is_refused():
    book = book_of(snapshot("1 1", "1e999999 1"))
    with pytest.raises(DataFormatError, match="no exact result of at most 10000 digits"):
        _ = book.spread
    with pytest.raises(DataFormatError, match="no exact result"):
        _ = book.mid


# --- Every rule ------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[dict[str, Any], list[Snapshot | Update], str]] = {
    "sorted": (
        {},
        [snapshot("9 1, 10 1")],
        "frame 1, level 10 1, breaks the rule 'sorted': expected a price after 9 in the bids, best first, found 10",
    ),
    "duplicate": (
        {},
        [snapshot(), update(asks="11 1, 13 1, 11.0 2")],
        "frame 2, level 11.0 2, breaks the rule 'duplicate': expected each price once in the asks, found 11.0",
    ),
    "price": (
        {},
        [snapshot(), update("10 1, 0 1")],
        "frame 2, level 0 1, breaks the rule 'price': expected a price above zero in the bids, found 0",
    ),
    "quantity": (
        {},
        [snapshot(), update(asks="11 -1")],
        "frame 2, level 11 -1, breaks the rule 'quantity': expected a quantity of zero or more in the asks, found -1",
    ),
    "depth": (
        {"depth": 1},
        [snapshot("10 1", "11 1, 12 1")],
        "frame 1, level 12 1, breaks the rule 'depth': expected at most 1 asks, found 2",
    ),
    "symbol": (
        {"symbol": "ETH/USDT"},
        [snapshot(), update("10 9", symbol="BTC/USDT")],
        "frame 2, breaks the rule 'symbol': expected ETH/USDT, found BTC/USDT",
    ),
    "exchange": (
        {"exchange": "okx"},
        [snapshot(exchange="okx"), update("10 9", exchange="binance")],
        "frame 2, breaks the rule 'exchange': expected okx, found binance",
    ),
    "timestamp": (
        {},
        [snapshot(timestamp=1_700_000_000)],
        "frame 1, breaks the rule 'timestamp': expected epoch milliseconds between 2009 and 2100, found 1700000000",
    ),
    "backwards": (
        {},
        [snapshot(timestamp=NOW), update("10 9", timestamp=NOW - 1)],
        f"frame 2, breaks the rule 'backwards': expected {NOW} or later, found {NOW - 1}",
    ),
    "stale": (
        {"max_age": 500, "clock": lambda: NOW},
        [snapshot(timestamp=NOW - 501)],
        f"frame 1, breaks the rule 'stale': expected {NOW - 500} or later, found {NOW - 501}",
    ),
    "sequence": (
        {"sequence": "linked"},
        [snapshot(), update("10 9", sequence=3, previous_sequence=2)],
        "frame 2, breaks the rule 'sequence': expected previous sequence 1, found 2",
    ),
    "crossed": (
        {},
        [snapshot(), update("11.5 1")],
        "frame 2, level 11.5 1, breaks the rule 'crossed': expected a best bid below the best ask 11, found 11.5",
    ),
    "checksum": (
        {"checksum": OKX},
        [snapshot("3366.1 7", "3366.8 9, 3368 8, 3372 8", checksum=831078361)],
        "frame 1, breaks the rule 'checksum': expected 831078361, as the frame says, found 831078360",
    ),
}


def test_every_rule_is_broken_below():
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_raised_with_all_that_is_known_of_it(rule):
    rules, [*good, bad], message = BROKEN[rule]
    book = book_of(*good, **rules)
    with pytest.raises(BookError) as caught:
        book.apply(bad)
    error = caught.value
    assert str(error) == f"ETH/USDT, {message}"
    assert (error.rule, error.symbol, error.frame) == (rule, "ETH/USDT", len(good) + 1)
    assert error.expected in message
    assert error.found in message
    assert message.startswith(f"frame {error.frame}" + (f", level {shown((error.level,))}" if error.level else ","))


@pytest.mark.parametrize("rule", RULES)
def test_a_skipped_rule_is_not_checked(rule):
    rules, frames, _ = BROKEN[rule]
    book = book_of(*frames, skip={rule}, **rules)
    assert (book.frames, book.synchronized) == (len(frames), True)


@pytest.mark.parametrize("rule", RULES)
def test_skipping_every_other_rule_still_finds_it(rule):
    rules, frames, _ = BROKEN[rule]
    with pytest.raises(BookError):
        book_of(*frames, skip=set(RULES) - {rule}, **rules)


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_reported_in_place_of_raised_and_is_the_only_one(rule):
    rules, frames, message = BROKEN[rule]
    errors: list[BookError] = []
    book_of(*frames, report=errors.append, **rules)
    assert [str(error) for error in errors] == [f"ETH/USDT, {message}"]


@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_ends_synchronization_unless_the_frame_is_another_streams(rule):
    rules, [*good, bad], _ = BROKEN[rule]
    book = book_of(*(good or [snapshot("1 1", "2 1")]), **rules)
    with pytest.raises(BookError):
        book.apply(bad)
    assert book.synchronized == (rule in ("symbol", "exchange"))


@pytest.mark.parametrize("rule", sorted({*RULES} - {"crossed", "checksum", "sorted", "depth", "timestamp", "stale"}))
def test_a_frame_that_breaks_a_rule_by_itself_is_not_applied(rule):
    rules, [*good, bad], _ = BROKEN[rule]
    book = book_of(*good, **rules)
    before = state(book)
    with pytest.raises(BookError):
        book.apply(bad)
    assert state(book) == before != ("", "")


def test_after_a_broken_rule_only_a_snapshot_makes_a_book_again():
    book = book_of(snapshot())
    with pytest.raises(BookError):
        book.apply(update("10 -1"))
    book.apply(update("10 7"))
    assert (shown(book.bids), book.synchronized) == ("10 1, 9 2", False)
    book.apply(snapshot("5 1", "6 1"))
    assert (state(book), book.synchronized) == (("5 1", "6 1"), True)


def test_a_frame_of_another_stream_leaves_book_and_sequence_alone():
    book = book_of(snapshot(), sequence="linked")
    with pytest.raises(BookError, match="'symbol'"):
        book.apply(update("10 9", symbol="BTC/USDT", sequence=77, previous_sequence=76))
    book.apply(update("10 2", sequence=2, previous_sequence=1))
    assert shown(book.bids) == "10 2, 9 2"


def test_symbol_and_exchange_are_those_of_the_first_frame_where_none_are_given():
    book = book_of(snapshot(exchange="okx"))
    for other in ({"symbol": "BTC/USDT"}, {"exchange": "binance"}):
        with pytest.raises(BookError):
            book.apply(update(**{"exchange": "okx"} | other))


def test_a_frame_that_does_not_say_its_exchange_contradicts_nothing():
    book = book_of(snapshot(exchange="okx"), update("10 9"))
    assert shown(book.bids) == "10 9, 9 2"


def test_an_update_may_hold_one_price_on_both_sides_and_levels_in_any_order():
    book = book_of(snapshot(), update("11 1, 8 1, 12 1", "12 0, 11 0, 13 1"))
    assert state(book) == ("12 1, 11 1, 10 1, 9 2, 8 1", "13 1")


def test_two_levels_of_one_price_are_found_wherever_they_stand():
    for changed in ("10 1, 10 2", "10 1, 10.0 1", "9 1, 8 1, 9.00 0", "8 1, 10 1, 9 1, 10 1"):
        with pytest.raises(BookError, match="'duplicate'"):
            book_of(snapshot(), update(changed))


def test_a_snapshot_may_not_hold_a_price_twice():
    with pytest.raises(BookError) as caught:
        book_of(snapshot(asks="11 1, 11 2"))
    assert caught.value.rule == "duplicate"


def test_asks_are_sorted_the_other_way():
    with pytest.raises(BookError) as caught:
        book_of(snapshot(asks="12 1, 11 1"))
    assert (caught.value.rule, caught.value.level) == ("sorted", *levels("11 1"))


def test_a_snapshot_that_is_not_sorted_is_the_right_book_all_the_same():
    book = book_of(snapshot("9 1, 10 1, 8 1", "12 1, 11 1"), skip={"sorted"})
    assert state(book) == ("10 1, 9 1, 8 1", "11 1, 12 1")


def test_a_locked_book_is_crossed_unless_it_is_allowed():
    with pytest.raises(BookError, match="'crossed'"):
        book_of(snapshot("11 1"))
    assert book_of(snapshot("11 1"), locked=True).spread == 0
    with pytest.raises(BookError, match="'crossed'"):
        book_of(snapshot("11.1 1"), locked=True)


def test_a_snapshot_of_the_subscribed_depth_is_deep_enough():
    assert book_of(snapshot(), depth=2).synchronized


@pytest.mark.parametrize("bad", [True, "1700000000000", Decimal(NOW), -1, 0, 1_230_767_999_999, 4_102_444_800_000])
def test_a_timestamp_is_a_whole_number_of_this_century(bad):
    for frame in (snapshot(timestamp=bad), update(timestamp=bad)):
        with pytest.raises(BookError, match="'timestamp'"):
            book_of(snapshot(timestamp=NOW), frame)


@pytest.mark.parametrize("good", [1_230_768_000_000, 4_102_444_799_999])
def test_the_first_and_the_last_moment_of_that_range_are_in_it(good):
    assert book_of(snapshot(timestamp=good), update(timestamp=good)).timestamp == good


def test_one_bad_timestamp_breaks_the_rule_once():
    errors: list[BookError] = []
    stamps = (NOW, NOW + 9, NOW + 1, NOW + 2, 7, NOW + 2)
    book_of(snapshot(), *(update(timestamp=stamp) for stamp in stamps), report=errors.append)
    assert [(error.rule, error.frame) for error in errors] == [("backwards", 4), ("timestamp", 6)]


def test_freshness_is_that_of_the_moment_of_each_frame():
    times = iter((NOW, NOW + 400, NOW + 501))
    book = book_of(snapshot(timestamp=NOW), update(timestamp=NOW), max_age=500, clock=lambda: next(times))
    with pytest.raises(BookError, match=f"'stale': expected {NOW + 1} or later"):
        book.apply(update(timestamp=NOW))


@pytest.mark.parametrize("checksum", [None, 0])
def test_no_checksum_is_none_that_could_differ(checksum):
    assert book_of(snapshot(checksum=checksum), update(checksum=checksum), checksum=OKX).synchronized


def test_a_checksum_that_fits_is_that_of_the_book_after_the_update():
    book = book_of(snapshot("3366.1 7", "3366.8 9, 3368 8"), checksum=OKX)
    book.apply(update("3366 6", checksum=-1881014294))
    with pytest.raises(BookError, match="'checksum'"):
        book.apply(update("3366 6.0", checksum=-1881014294))


def test_krakens_checksum_is_checked_too():
    bids = ", ".join(f"0.0{tick:04} 0.00000500" for tick in (5000, *range(4995, 4985, -5), *range(4980, 4945, -5)))
    asks = ", ".join(f"0.0{tick} 0.00000500" for tick in range(5005, 5055, 5))
    assert book_of(snapshot(bids, asks, checksum=974947235), checksum=KRAKEN).synchronized


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"skip": {"crosed"}}, "there is no rule 'crosed'; there are sorted, "),
        ({"sequence": "random"}, "there is no sequencing 'random'; there are contiguous, "),
        ({"depth": 0}, "a depth is one level or more, not 0"),
        ({"max_age": 5}, "max_age and clock need each other"),
        ({"clock": lambda: 0}, "max_age and clock need each other"),
    ],
)
def test_what_cannot_be_meant_is_refused(rules, said):
    with pytest.raises(ConfigError, match=said):
        OrderBook(**rules)


# --- Sequences ---------------------------------------------------------------------------------------------

FOLLOWS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "contiguous": ({"sequence": 11}, [{"sequence": 12}, {"sequence": 10}, {"sequence": 9}]),
    "linked": (
        {"sequence": 15, "previous_sequence": 10},
        [
            {"sequence": 15, "previous_sequence": 11},
            {"sequence": 15, "previous_sequence": 9},
            {"sequence": 11},
        ],
    ),
    "increasing": ({"sequence": 19}, [{"sequence": 10}, {"sequence": 9}]),
    "ranged": (
        {"first_sequence": 11, "sequence": 14},
        [
            {"first_sequence": 12, "sequence": 14},
            {"first_sequence": 10, "sequence": 14},
            {"first_sequence": 11, "sequence": 10},
            {"sequence": 11},
        ],
    ),
}
GAPS = [(name, bad) for name, (_, every) in FOLLOWS.items() for bad in every]


@pytest.mark.parametrize("name", SEQUENCINGS)
def test_what_follows_is_applied(name):
    book = book_of(snapshot(sequence=10), update("10 9", **FOLLOWS[name][0]), sequence=name)
    assert (shown(book.bids), book.sequence) == ("10 9, 9 2", FOLLOWS[name][0]["sequence"])


@pytest.mark.parametrize(("name", "bad"), GAPS)
def test_a_gap_is_reported_before_the_update_is_applied(name, bad):
    book = book_of(snapshot(sequence=10), sequence=name)
    with pytest.raises(BookError) as caught:
        book.apply(update("10 9", **bad))
    assert (caught.value.rule, caught.value.frame) == ("sequence", 2)
    assert (shown(book.bids), book.synchronized) == ("10 1, 9 2", False)


@pytest.mark.parametrize("name", SEQUENCINGS)
def test_an_update_without_a_sequence_is_a_gap(name):
    book = book_of(snapshot(sequence=10), sequence=name)
    with pytest.raises(BookError, match="'sequence': expected a sequence, found none"):
        book.apply(update("10 9", previous_sequence=10))
    assert shown(book.bids) == "10 1, 9 2"


def test_after_a_gap_updates_are_followed_but_not_applied():
    book = book_of(snapshot(sequence=10), sequence="contiguous")
    for sequence, broken in ((12, True), (13, False), (15, True), (16, False)):
        try:
            book.apply(update("10 9", sequence=sequence))
        except BookError:
            assert broken
        else:
            assert not broken
    assert shown(book.bids) == "10 1, 9 2"


def test_recovery_replaces_the_book():
    book = book_of(snapshot(sequence=10), sequence="contiguous")
    with pytest.raises(BookError):
        book.apply(update("10 9, 7 1", sequence=12))
    book.apply(snapshot("8 1", sequence=20))
    book.apply(update("8 2", sequence=21))
    assert (shown(book.bids), book.synchronized) == ("8 2", True)


def test_a_reported_gap_is_not_applied_either():
    errors: list[BookError] = []
    book = book_of(snapshot(sequence=10), update("10 9", sequence=12), sequence="contiguous", report=errors.append)
    assert (len(errors), shown(book.bids), book.synchronized) == (1, "10 1, 9 2", False)


def test_sequences_are_not_looked_at_where_it_is_not_asked():
    assert book_of(snapshot(), update("10 9", sequence=7), update("10 8")).synchronized


def test_a_stream_without_a_snapshot_is_followed_all_the_same():
    book = book_of(update(sequence=5), update(sequence=6), sequence="contiguous")
    with pytest.raises(BookError):
        book.apply(update(sequence=8))


# --- From a snapshot of REST to the stream -------------------------------------------------------------------

BUFFERED: dict[str, list[dict[str, Any]]] = {
    "contiguous": [{"sequence": number} for number in (9, 10, 11, 12)],
    "linked": [{"sequence": 8, "previous_sequence": 5}, {"sequence": 12, "previous_sequence": 8}],
    "increasing": [{"sequence": number} for number in (4, 10, 12)],
    "ranged": [
        {"first_sequence": 4, "sequence": 8},
        {"first_sequence": 9, "sequence": 10},
        {"first_sequence": 11, "sequence": 12},
    ],
}


@pytest.mark.parametrize("name", SEQUENCINGS)
def test_what_a_rest_snapshot_has_in_it_is_passed_over_and_the_rest_applied(name):
    *old, new = BUFFERED[name]
    if name == "contiguous":
        old.pop()
        new = {"sequence": 11}
    book = OrderBook(sequence=name)
    book.bridge(snapshot(sequence=10), [*(update("10 99", **each) for each in old), update("10 5", **new)])
    assert (shown(book.bids), book.sequence, book.synchronized) == ("10 5, 9 2", new["sequence"], True)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("contiguous", {"sequence": 12}),
        ("linked", {"sequence": 15, "previous_sequence": 11}),
        ("linked", {"sequence": 15}),
        ("ranged", {"first_sequence": 12, "sequence": 15}),
    ],
)
def test_a_stream_that_begins_beyond_the_rest_snapshot_is_a_gap(name, first):
    book = OrderBook(sequence=name)
    with pytest.raises(BookError, match="'sequence'"):
        book.bridge(snapshot(sequence=10), [update("10 9", **first)])
    assert shown(book.bids) == "10 1, 9 2"


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("linked", {"sequence": 12, "previous_sequence": 8}, {"sequence": 14, "previous_sequence": 11}),
        ("linked", {"sequence": 12, "previous_sequence": 10}, {"sequence": 14, "previous_sequence": 11}),
        ("ranged", {"first_sequence": 9, "sequence": 12}, {"first_sequence": 12, "sequence": 14}),
    ],
)
def test_only_the_first_update_may_reach_back_behind_the_rest_snapshot(name, first, second):
    book = OrderBook(sequence=name)
    book.bridge(snapshot(sequence=10), [update(**first)])
    with pytest.raises(BookError, match="'sequence'"):
        book.apply(update(**second))


def test_updates_that_the_rest_snapshot_has_may_still_arrive_after_it():
    book = OrderBook(sequence="contiguous")
    book.bridge(snapshot(sequence=10))
    for sequence in (9, 10, 11, 12):
        book.apply(update(f"10 {sequence}", sequence=sequence))
    assert shown(book.bids) == "10 12, 9 2"


def test_on_the_stream_itself_an_old_update_is_not_passed_over():
    book = book_of(snapshot(sequence=10), sequence="contiguous")
    with pytest.raises(BookError, match="expected sequence 11, found 10"):
        book.apply(update(sequence=10))


def test_a_snapshot_of_the_stream_ends_the_bridge():
    book = OrderBook(sequence="contiguous")
    book.bridge(snapshot(sequence=10))
    book.apply(snapshot(sequence=20))
    with pytest.raises(BookError, match="expected sequence 21, found 19"):
        book.apply(update(sequence=19))


def test_the_time_of_a_rest_snapshot_is_not_held_against_the_stream():
    book = book_of(update(sequence=10, timestamp=NOW), sequence="contiguous")
    book.bridge(snapshot(sequence=10, timestamp=NOW + 50), [update(sequence=11, timestamp=NOW + 1)])
    with pytest.raises(BookError, match=f"'backwards': expected {NOW + 1} or later"):
        book.apply(update(sequence=12, timestamp=NOW))


def test_another_stream_begins_with_a_snapshot_and_a_time_of_its_own():
    book = book_of(snapshot(sequence=10, timestamp=NOW), sequence="contiguous")
    book.restart()
    book.apply(update("10 9", sequence=3, timestamp=NOW - 5))
    assert (shown(book.bids), book.synchronized) == ("10 1, 9 2", False)
    book.apply(snapshot("8 1", sequence=4, timestamp=NOW - 4))
    book.apply(update("8 2", sequence=5, timestamp=NOW - 3))
    assert (shown(book.bids), book.synchronized) == ("8 2", True)


# --- Bad input -----------------------------------------------------------------------------------------------


def message(bids: str = "[]", asks: str = "[]", kind: str = "snapshot") -> str:
    return f'{{"type": "{kind}", "symbol": "ETH/USDT", "bids": {bids}, "asks": {asks}}}'


def parsed(text: str) -> OrderBook:
    return book_of(Dialect().parse(text))  # type: ignore[arg-type]


def test_a_frame_with_one_side_is_a_book_with_one_side():
    assert state(parsed('{"symbol": "X", "bids": [["1", "2"]]}')) == ("1 2", "")


def test_an_empty_book_is_empty():
    assert state(parsed(message())) == ("", "")


@pytest.mark.parametrize("level", ['["10", "1", "0"]', '["10", "1", "0", "4"]', '["10", "1", null, {}]'])
def test_what_stands_behind_price_and_quantity_does_not_count(level):
    assert shown(parsed(message(f"[{level}]")).bids) == "10 1"


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ('"1e-7"', "1E-7"),
        ("1e-7", "1E-7"),
        ("0.10", "0.10"),
        ("1.0E+2", "1.0E+2"),
        (f'"{"9" * 400}"', "9" * 400),
        ("9" * 400, "9" * 400),
        (f'"0.{"0" * 399}1"', "1E-400"),
    ],
)
def test_a_number_keeps_every_digit(text, shown_as):
    book = parsed(message(f"[[{text}, {text}]]"))
    assert shown(book.bids) == f"{shown_as} {shown_as}"
    assert book.cumulative("bids")[0].quantity == Decimal(shown_as)


def test_numbers_of_400_digits_have_an_exact_spread_and_middle():
    one, other = "1" + "0" * 398 + "1", "1" + "0" * 398 + "2"
    book = parsed(message(f'[["{one}", "1"]]', f'[["{other}", "1"]]'))
    assert (str(book.spread), str(book.mid)) == ("1", f"{one}.5")


@pytest.mark.parametrize(
    "level",
    [
        "null",
        "[]",
        '["10"]',
        "[null, null]",
        '["10", null]',
        "{}",
        "10",
        '"10"',
        "[[], []]",
        "[true, true]",
        '["1_000", "1"]',
        '[" 1", "1"]',
        '["1 ", "1"]',
        '["NaN", "1"]',
        '["10", "NaN"]',
        '["Infinity", "1"]',
        '["10", "-Infinity"]',
        "[NaN, 1]",
        "[10, Infinity]",
        '["", "1"]',
        '["0x10", "1"]',
        '["+1", "1"]',
        '["01", "1"]',
        '[".5", "1"]',
        '["5.", "1"]',
        '["1e99999999999999999999", "1"]',
        '["0", "1"]',
        '["-1", "1"]',
        '["1", "-1"]',
        '["\u0661", "1"]',
    ],
)
@pytest.mark.parametrize("kind", ["snapshot", "update"])
def test_what_is_no_level_is_refused(level, kind):
    for text in (message(f"[{level}]", kind=kind), message('[["9", "1"]]', f"[{level}]", kind=kind)):
        with pytest.raises(DataFormatError):
            Dialect().parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"symbol": "X", "bids": [], "bids": []}', "the key 'bids' stands twice"),
        (message("null"), "bids must be an array"),
        (message("{}"), "bids must be an array"),
        (message("[" * 10_000 + "]" * 10_000), "nested more than 100 deep"),
        (message('{"a":' * 10_000 + "1" + "}" * 10_000), "nested more than 100 deep"),
        (message("[" * 10_000), "nested more than 100 deep"),
        ('{"symbol": "X", "bids": [], "asks": [], "timestamp": 1.5}', "timestamp must be a whole number"),
        ('{"symbol": "X", "bids": [], "asks": [], "sequence": "1"}', "sequence must be a whole number"),
        ('{"symbol": "X", "bids": [], "asks": [], "checksum": true}', "checksum must be a whole number"),
        ('{"symbol": null, "bids": [], "asks": []}', "must name its symbol"),
        ('{"bids": [], "asks": []}', "must name its symbol"),
    ],
)
def test_what_is_no_frame_is_refused_and_says_why(text, said):
    with pytest.raises(DataFormatError, match=said):
        Dialect().parse(text)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "-Infinity"])
def test_levels_made_by_hand_of_what_is_no_number_are_refused_whatever_is_skipped(number):
    for bad in (f"{number} 1", f"1 {number}", f"2 1, {number} 1", f"2 1, 1 {number}"):
        for frame in (snapshot(bad), update(bad)):
            book = book_of(snapshot(), skip=RULES)
            with pytest.raises(DataFormatError, match="ETH/USDT, frame 2: no level of the bids"):
                book.apply(frame)
            assert not book.synchronized


# --- Real traffic --------------------------------------------------------------------------------------------


@needs_data
def test_every_binance_stream_bridges_to_its_rest_snapshot_and_stays_contiguous():
    updates: dict[str, list[Update]] = defaultdict(list)
    for frame in binance_updates():
        updates[frame.symbol].append(frame)
    snapshots = binance_snapshots()
    assert {symbol: len(frames) for symbol, frames in updates.items()} == {
        "NKNUSDT": 150,
        "LRCBTC": 15,
        "BLZETH": 10,
        "RUNEEUR": 2,
    }
    for symbol, frames in updates.items():
        book = OrderBook(symbol, sequence="ranged")
        book.bridge(snapshots[symbol], frames)
        naive = NaiveBook()
        for frame in (snapshots[symbol], *(each for each in frames if each.sequence > snapshots[symbol].sequence)):
            naive.apply(frame)
        assert (book.synchronized, book.sequence) == (True, max(frames[-1].sequence, snapshots[symbol].sequence))
        assert (book.bids, book.asks) == (naive.best_first("bids"), naive.best_first("asks"))


@needs_data
def test_every_checksum_of_okx_matches():
    books: dict[str, OrderBook] = {}
    for frame in okx_frames():
        book = books.setdefault(frame.symbol, OrderBook(sequence=None, checksum=OKX))
        assert frame.checksum
        book.apply(frame)
    assert sum(book.frames for book in books.values()) == 290


@needs_data
@pytest.mark.parametrize("seed", range(40))
def test_every_gap_in_a_binance_stream_is_reported_where_it_is(seed):
    snapshots = binance_snapshots()
    frames = binance_updates()
    dropped = a_hundredth(len(frames), seed)
    found: list[tuple[str, int]] = []
    expected: list[tuple[str, int]] = []
    books = {
        symbol: OrderBook(symbol, sequence="ranged", report=lambda error: found.append((error.rule, number)))
        for symbol in snapshots
    }
    for symbol, book in books.items():
        number = -1
        book.bridge(snapshots[symbol])
    missing: set[str] = set()
    for number, frame in enumerate(frames):
        if frame.sequence <= snapshots[frame.symbol].sequence:
            continue
        if number in dropped:
            missing.add(frame.symbol)
            continue
        if frame.symbol in missing:
            missing.remove(frame.symbol)
            expected.append(("sequence", number))
        books[frame.symbol].apply(frame)
    assert found == expected


@needs_data
@pytest.mark.parametrize("seed", range(40))
def test_every_gap_in_a_stream_of_okx_is_reported_where_the_covered_levels_first_differ(seed):
    frames = okx_frames()
    dropped = {number for number in a_hundredth(len(frames), seed) if isinstance(frames[number], Update)}
    lossy: dict[str, NaiveBook] = defaultdict(NaiveBook)
    books = {frame.symbol: OrderBook(sequence=None, checksum=OKX) for frame in frames}
    found, expected = [], []
    for number, (frame, (truth, covered)) in enumerate(zip(frames, okx_books(), strict=True)):
        symbol = frame.symbol
        if number in dropped:
            continue
        lossy[symbol].apply(frame)
        if lossy[symbol].covered() != covered:
            expected.append(number)
            lossy[symbol] = truth.copied()
        try:
            books[symbol].apply(frame)
        except BookError as error:
            assert error.rule == "checksum"
            found.append(number)
            sides = {name: truth.best_first(name) for name in truth.sides}
            books[symbol].apply(Snapshot(symbol=symbol, **sides))  # what a new subscription brings
    assert found == expected


@needs_data
def test_most_of_those_gaps_are_found_at_the_very_next_frame():
    """So that the test above does not agree about nothing."""
    frames = okx_frames()
    last = {frame.symbol: number for number, frame in enumerate(frames)}
    lost = Counter()
    for number, frame in enumerate(frames):
        if isinstance(frame, Snapshot) or number == last[frame.symbol]:
            continue
        book = OrderBook(sequence=None, checksum=OKX)
        following = next(each for each in frames[number + 1 :] if each.symbol == frame.symbol)
        for each in frames[:number]:
            if each.symbol == frame.symbol:
                book.apply(each)
        try:
            book.apply(following)
        except BookError:
            lost["next"] += 1
        else:
            lost["later"] += 1
    assert lost["next"] > 9 * lost["later"]


def a_hundredth(count: int, seed: int) -> set[int]:
    return set(random.Random(seed).sample(range(count), max(1, count // 100)))


@functools.cache
def okx_books() -> list[tuple[NaiveBook, list[str]]]:
    """The book of its symbol after each of the frames, and what its checksum covers."""
    books: dict[str, NaiveBook] = defaultdict(NaiveBook)
    after = []
    for frame in okx_frames():
        books[frame.symbol].apply(frame)
        book = books[frame.symbol].copied()
        after.append((book, book.covered()))
    return after


class NaiveBook:
    """Two dictionaries, sorted when asked."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}

    def copied(self) -> NaiveBook:
        copy = NaiveBook()
        copy.sides = {name: dict(side) for name, side in self.sides.items()}
        return copy

    def apply(self, frame: Snapshot | Update) -> None:
        if isinstance(frame, Snapshot):
            self.sides = {"bids": {}, "asks": {}}
        for name, side in self.sides.items():
            for price, quantity in getattr(frame, name):
                side.pop(price, None)
                if quantity:
                    side[price] = quantity

    def best_first(self, name: str) -> tuple[Level, ...]:
        return tuple(Level(*item) for item in sorted(self.sides[name].items(), reverse=name == "bids"))

    def covered(self) -> list[str]:
        return [shown(self.best_first(name)[:25]) for name in self.sides]
