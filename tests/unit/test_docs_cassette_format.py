"""docs/cassette-format.md names everything there is, and its examples can be read and played."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import requests
import vcr

from pytest_connex.cassette import http_file
from pytest_connex.cassette.causality import Order
from pytest_connex.cassette.events import VERSION, End, Event, Header, Received, Sent
from pytest_connex.cassette.exchange import Ending
from pytest_connex.cassette.http_file import read_http, read_interactions
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpPlayer, HttpRules
from pytest_connex.cassette.player import Player, Rules
from pytest_connex.cassette.proof import Proof
from pytest_connex.cassette.store import Recording
from pytest_connex.cassette.tally import Messages, Requests
from pytest_connex.secrets.redaction import Redactor

DOCS = Path(__file__).parents[2] / "docs"
WEBSOCKET, HTTP = DOCS / "examples/order.ws.jsonl", DOCS / "examples/order.yaml"
NAMED = set(re.findall(r"`([^`\n]+)`", (DOCS / "cassette-format.md").read_text("utf-8")))
RULES = Rules((), Redactor({}))
HTTP_RULES = HttpRules(Matching((), ()), Redactor({}), {})


def test_every_event_and_member_is_named():
    events = get_args(Event)
    members = {field for kind in (Header, *events, End) for field in kind.__struct_fields__}
    kinds = {kind.__struct_config__.tag for kind in events}
    assert members - {"event", "events"} | kinds <= NAMED
    assert set(http_file._Ours.__struct_fields__) | set(get_args(Ending)) - {"whole"} <= NAMED


def test_the_page_is_of_the_version_that_is_written():
    assert (
        (DOCS / "cassette-format.md")
        .read_text("utf-8")
        .startswith(f"# The format of recordings, version {VERSION}\n")
    )
    assert Recording(WEBSOCKET).header.version == read_http(HTTP)["connex"]["version"] == VERSION


def test_the_examples_are_one_tape_that_can_be_played():
    proof = Proof(RULES, HTTP_RULES)
    events = [event for connection in Recording(WEBSOCKET).connections for _, event in connection.events()]
    size = sum(len(event.payload) for event in events if isinstance(event, Sent | Received))
    proof.messages(WEBSOCKET, WEBSOCKET, Messages(dials=4, sent=1, received=4, size=size))
    proof.requests(HTTP, HTTP, Requests(asked=5, size=60))
    proof.check()


def test_a_fill_waits_for_its_order_and_a_price_for_the_fill():
    recording, interactions = Recording(WEBSOCKET), read_interactions(HTTP)
    order = Order(recording, interactions)
    player, http = Player(recording, RULES, order), HttpPlayer(HTTP, interactions, HTTP_RULES, order)
    fills = player.dial("wss://ws.connex.invalid/", ["v1"])
    assert fills.deliver(9) == ['{"type": "welcome"}']
    fills.sent('{"action": "subscribe", "channel": "fills", "id": "4b1c0f6e"}')
    assert len(fills.deliver(9)) == 1
    assert fills.expectation() == "the client asks POST https://rest.connex.invalid/v1/orders"
    prices = http.ask(interactions[1].request, "venue")
    assert prices.due(-1)  # beyond a request that was not asked, nothing is waited for
    prices.given(-1)
    created = http.ask(interactions[0].request)
    assert (created.due(-1), created.status) == (True, 201)
    assert created.headers[2] == ("Set-Cookie", "connex-recorded-set-cookie")
    created.over()  # the fill came after the answer
    assert not prices.due(0)
    assert fills.deliver(9) == ['{"type": "fill", "order": 17, "price": "2497.90"}', b"\x00\xff"]
    assert prices.due(0)
    assert [piece.data for piece in prices.pieces] == [b"data: 2497.90\n\n", b"data: 2497.95\n\n"]


def test_the_examples_show_what_is_hard_to_say():
    connections = Recording(WEBSOCKET).connections
    assert [type(connection.answer).__name__ for connection in connections] == ["Open", "Rejected", "Left", "Open"]
    assert connections[0].closing.no_pong_since == 20.0
    assert connections[3].late
    assert [one.ended for one in read_interactions(HTTP)] == ["whole", "left", "whole", "cut", "left"]


def test_plain_vcr_plays_the_example():
    body = '{"side": "buy", "price": "2497.90", "quantity": "0.5"}'
    with vcr.use_cassette(str(HTTP), record_mode="none"):
        answer = requests.post("https://rest.connex.invalid/v1/orders", data=body)
        assert (answer.status_code, answer.json()) == (201, {"order": 17, "open": True})
        assert requests.get("https://rest.connex.invalid/v1/status").status_code == 504
