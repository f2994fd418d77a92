"""Telling values that a client makes up anew in every run from values it means."""

from __future__ import annotations

import json

import pytest

from pytest_connex.cassette.generated import advice, generated
from pytest_connex.cassette.matching import differences


def places(recorded: object, actual: object) -> list[str]:
    return generated(differences(json.dumps(recorded), json.dumps(actual)))


MADE_UP = [
    ("uuid", "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ("uuid without dashes", "0f8fad5bd9cb469fa16570867728950e", "7c9e6679742540de944be07fc1f90ae7"),
    ("uuid after a prefix", "x-0f8fad5b-d9cb-469f-a165-70867728950e", "x-7c9e6679-7425-40de-944b-e07fc1f90ae7"),
    ("seconds", 1737158400, 1737158412),
    ("seconds with a fraction", 1737158400.25, 1737158412.5),
    ("milliseconds", "1737158400123", "1737158412456"),
    ("microseconds", 1737158400123456, 1737158412456789),
    ("nanoseconds", 1737158400123456789, 1737158412456789123),
    ("milliseconds after a prefix", "bot-1737158400123", "bot-1737158412456"),
    ("iso", "2025-01-18T00:00:00Z", "2025-01-18T00:00:12.456+00:00"),
    ("hex", "9f86d081884c7d65", "2c26b46b68ffc68f"),
    ("base36", "k3v9x2m1q8", "z7b4n0p5w2"),
    ("base36 after a prefix", "my-bot-k3v9x2m1q8", "my-bot-z7b4n0p5w2"),
    ("base64", "q83vEjRWeJCrze8SNFZ4kA==", "EjRWeJCrze8SNFZ4kKvN7w=="),
    ("long digits", "844674407370955", "912345678901237"),
]
MEANT = [
    ("symbol", "ETH/USDT", "BTC/USDT"),
    ("option", "BTC-25DEC26-100000-C", "BTC-26DEC26-90000-P"),
    ("name", "limit-order-basic-1", "market-order-basic-2"),
    ("channel", "orderbook.5", "orderbook.20"),
    ("stream", "btcusdt@depth20@100ms", "ethusdt@depth20@100ms"),
    ("price", "2500.10", "2500.20"),
    ("depth", 5, 20),
    ("round amount", 1000000000, 2000000000),
    ("amount in wei", "1000000000000000000", "1500000000000000000"),
    ("seconds for milliseconds", 1737158400, 1737158400123),
    ("day", "2025-01-18", "2025-01-19"),
    ("flag", True, False),
    ("null", None, "0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("structure", {"a": 1}, "0f8fad5b-d9cb-469f-a165-70867728950e"),
]


@pytest.mark.parametrize(("recorded", "actual"), [case[1:] for case in MADE_UP], ids=[case[0] for case in MADE_UP])
def test_what_clients_make_up_is_told(recorded, actual):
    assert places({"ref": recorded}, {"ref": actual}) == ["ref"]


@pytest.mark.parametrize(("recorded", "actual"), [case[1:] for case in MEANT], ids=[case[0] for case in MEANT])
def test_what_clients_mean_is_not(recorded, actual):
    assert places({"ref": recorded}, {"ref": actual}) == []


@pytest.mark.parametrize(
    "name", ["id", "clientOrderId", "order_id", "req-id", "seq", "msgSeq", "nonce", "clOid", "oid"]
)
@pytest.mark.parametrize(("recorded", "actual"), [(17, 18), ("order-17", "order-18"), ("9", "10")])
def test_a_counter_is_told_by_the_name_of_its_member(name, recorded, actual):
    assert places({name: recorded}, {name: actual}) == [name]
    assert places({"side": recorded}, {"side": actual}) == []


@pytest.mark.parametrize("name", ["paid", "grid", "bid", "mid", "void"])
def test_names_that_only_end_like_that_of_a_counter_are_none(name):
    assert places({name: 17}, {name: 18}) == []


def test_counters_of_two_series_differ():
    assert places({"id": "buy-17"}, {"id": "sell-18"}) == []


def test_places_are_spelled_as_the_marker_takes_them():
    recorded = {"params": [{"clientOrderId": "k3v9x2m1q8"}, {"clientOrderId": "a3v9x2m1q7"}], "t": {"s": 1737158400}}
    actual = {"params": [{"clientOrderId": "z7b4n0p5w2"}, {"clientOrderId": "c7b4n0p5w3"}], "t": {"s": 1737158412}}
    names = places(recorded, actual)
    assert names == ["params.clientOrderId", "t.s"]
    assert differences(json.dumps(recorded), json.dumps(actual), names) == []


def test_a_single_position_in_an_array_is_named():
    recorded, actual = ({"args": [{"op": "login", "ts": ts}, {"ts": 5}]} for ts in (1737158400, 1737158412))
    names = places(recorded, actual)
    assert names == ["args.0.ts"]
    assert differences(json.dumps(recorded), json.dumps(actual), names) == []


def test_one_difference_that_is_meant_leaves_none():
    assert places({"id": 1, "symbol": "ETH/USDT"}, {"id": 2, "symbol": "BTC/USDT"}) == []


def test_a_value_that_has_no_name_cannot_be_volatile():
    assert places(["k3v9x2m1q8"], ["z7b4n0p5w2"]) == []
    assert places("k3v9x2m1q8", "z7b4n0p5w2") == []
    assert generated(differences("k3v9x2m1q8", "z7b4n0p5w2")) == []


def test_a_member_that_is_new_is_not_made_up():
    assert places({}, {"id": 1}) == []


def test_the_advice_names_every_place():
    assert advice(["a.id", "t"], "volatile=[{}]") == (
        'if a.id and t are made up anew in every run: volatile=["a.id", "t"]'
    )
    assert advice(["ключ"], "volatile=[{}]") == 'if ключ is made up anew in every run: volatile=["ключ"]'
    assert advice([], "volatile=[{}]") == ""
