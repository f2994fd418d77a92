"""The order of what happened on several connections, and the URLs and times that tools write."""

from __future__ import annotations

import math

import pytest

from pytest_connex.cassette.events import Dial, Open, Received, Sent
from pytest_connex.foreign.traffic import Lost, Strand, epoch, in_order, one_each, websocket_url

URL = "wss://connex.example/"


def strand(*events: object, places: tuple[int, ...] = ()) -> Strand:
    made = Strand()
    for index, event in enumerate(events):
        made.add(event, places[index] if places else 0)
    return made


def test_connections_are_merged_by_time():
    first = strand(Dial(1, 1.0, URL), Open(1, 2.0), Received(1, 5.0, "a"))
    second = strand(Dial(2, 1.5, URL), Open(2, 3.0), Sent(2, 4.0, "b"))
    merged = [(event.conn, event.at) for event in in_order([first, second])]
    assert merged == [(1, 1.0), (2, 1.5), (1, 2.0), (2, 3.0), (2, 4.0), (1, 5.0)]


def test_a_connection_keeps_its_order_where_its_times_run_backwards():
    made = strand(Dial(1, 5.0, URL), Open(1, 4.0), Received(1, 3.0, "a"), Received(1, 9.0, "b"), Lost(1, 2.0))
    assert list(in_order([made])) == [
        Dial(1, 5.0, URL),
        Open(1, 5.0),
        Received(1, 5.0, "a"),
        Received(1, 9.0, "b"),
        Lost(1, 9.0),
    ]


def test_places_order_what_has_the_same_time():
    first = strand(Dial(1, 1.0, URL), Received(1, 1.0, "third"), places=(1, 4))
    second = strand(Dial(2, 1.0, URL), Sent(2, 1.0, "second"), places=(2, 3))
    assert [type(event) for event in in_order([first, second])] == [Dial, Dial, Sent, Received]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("wss://a.example:9443/x?y=z", "wss://a.example:9443/x?y=z"),
        ("https://a.example/x", "wss://a.example/x"),
        ("http://127.0.0.1:80/x", "ws://127.0.0.1:80/x"),
        ("wss://user:password@a.example/x#part", "wss://a.example/x"),
    ],
)
def test_a_url_is_that_of_a_websocket_without_a_password(written, url):
    assert websocket_url(written) == url


@pytest.mark.parametrize("written", ["", "/x", "ftp://a.example/", "wss://", "wss://a.example:port/", "wss://[::1/"])
def test_what_is_no_url_is_refused(written):
    with pytest.raises(ValueError):
        websocket_url(written)


@pytest.mark.parametrize("seconds", [-1.0, 1e12, math.inf, math.nan])
def test_a_time_that_no_calendar_has_is_refused(seconds):
    with pytest.raises(ValueError, match="no time in epoch seconds"):
        epoch(seconds)


def test_headers_are_joined_and_pseudo_headers_left_out():
    fields = ((":authority", "a"), ("Accept", "x"), ("Origin", "o"), ("Accept", "y"))
    assert one_each(fields) == {"Accept": "x, y", "Origin": "o"}
