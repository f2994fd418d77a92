"""Typed frames: immutable, compared by value, with exact numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pytest_connex import model
from pytest_connex.model import Heartbeat, Level, Pong, Snapshot, Subscribed, Update

FRAMES = [
    Snapshot(symbol="X", bids=(), asks=()),
    Update(symbol="X", bids=(), asks=()),
    model.Authenticated(),
    Subscribed(),
    model.Unsubscribed(),
    Pong(),
    Heartbeat(),
    model.ErrorEvent(),
    model.OtherFrame(name="x", payload={}),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frames_are_immutable(frame):
    field = frame.__struct_fields__[0]
    with pytest.raises(AttributeError):
        setattr(frame, field, "other")


def test_every_kind_of_frame_is_in_the_alias():
    assert {type(frame) for frame in FRAMES} == set(model.Frame.__args__)


def test_frames_are_compared_by_value_and_kind():
    assert Heartbeat(timestamp=1) == Heartbeat(timestamp=1)
    assert Heartbeat(timestamp=1) != Heartbeat(timestamp=2)
    assert Snapshot(symbol="X", bids=(), asks=()) != Update(symbol="X", bids=(), asks=())


def test_frames_take_keywords_only():
    with pytest.raises(TypeError):
        Heartbeat(1)


def test_a_book_needs_its_symbol_and_both_sides():
    for given in ({"bids": (), "asks": ()}, {"symbol": "X", "bids": ()}, {"symbol": "X", "asks": ()}):
        with pytest.raises(TypeError):
            Snapshot(**given)


def test_what_the_wire_may_leave_out_is_none():
    update = Update(symbol="X", bids=(), asks=())
    assert (update.exchange, update.timestamp, update.sequence, update.previous_sequence) == (None, None, None, None)


def test_a_level_is_a_price_and_a_quantity():
    level = Level(Decimal("2500.10"), Decimal("1.50"))
    price, quantity = level
    assert (str(price), str(quantity), level.price, level.quantity) == ("2500.10", "1.50", price, quantity)
