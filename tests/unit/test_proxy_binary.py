"""Exchanges that speak in binary messages: compressed JSON, and MessagePack by the dialect's word."""

from __future__ import annotations

import gzip
import json
import secrets
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import msgpack
import pytest
from websockets.sync.client import connect

from pytest_connex.cassette.events import Received, Sent
from pytest_connex.cassette.store import Recording
from pytest_connex.protocol import JSON, Dialect, decode_json

from .upstream import PATIENCE, Stage, server


class Packs(Dialect):
    """An exchange that speaks MessagePack."""

    def decode(self, text: str | bytes) -> JSON:
        """Read a message."""
        return msgpack.unpackb(text) if isinstance(text, bytes) else decode_json(text)


class Spoken(NamedTuple):
    """How messages are written and read."""

    write: Callable[[Any], str | bytes]
    read: Callable[[Any], Any]
    dialect: Dialect = Dialect()


def deflated(message: Any) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(json.dumps(message).encode()) + packing.flush()


LANGUAGES = {
    "JSON as bytes": Spoken(lambda message: json.dumps(message).encode(), json.loads),
    "gzip": Spoken(
        lambda message: gzip.compress(json.dumps(message).encode()), lambda data: json.loads(gzip.decompress(data))
    ),
    "deflate": Spoken(deflated, lambda data: json.loads(zlib.decompress(data, -15))),
    "Socket.IO": Spoken(
        lambda message: f"42{json.dumps(['message', message])}", lambda text: json.loads(text[2:])[1]
    ),
    "MessagePack": Spoken(msgpack.packb, msgpack.unpackb, Packs()),
}
TOKEN = secrets.token_hex(16)
BOOK = {"bids": [["2497.90", "2.1184"]], "id": 7}


def talk(spoken: Spoken) -> Callable[[Any], None]:
    def said(ws: Any) -> None:
        for message in ws:
            asked = spoken.read(message)
            if asked["op"] == "login":
                answer = {"id": asked["id"], "token": TOKEN}
            else:
                assert asked["session"] == TOKEN
                answer = {"id": asked["id"], "fill": {"clOrdId": asked["clOrdId"], "px": "1.10"}}
            ws.send(spoken.write(answer))
            ws.send(spoken.write(BOOK))

    return said


def use(url: str, spoken: Spoken) -> list[Any]:
    """Log in, and place an order with the token that was handed out; return what was seen."""
    seen = []
    with connect(url) as ws:
        login = str(uuid4())
        ws.send(spoken.write({"op": "login", "id": login}))
        answer = spoken.read(ws.recv(PATIENCE))
        seen.append(answer["id"] == login)
        seen.append(spoken.read(ws.recv(PATIENCE)))
        order, reference = str(uuid4()), uuid4().hex
        ws.send(spoken.write({"clOrdId": reference, "op": "order", "id": order, "session": answer["token"]}))
        fill = spoken.read(ws.recv(PATIENCE))
        seen.append((fill["id"] == order, fill["fill"]["clOrdId"] == reference, fill["fill"]["px"]))
        seen.append(spoken.read(ws.recv(PATIENCE)))
    return seen


@pytest.mark.parametrize("spoken", LANGUAGES.values(), ids=LANGUAGES)
def test_a_session_is_recorded_without_its_token_and_replayed_with_ids_of_its_own(tmp_path, spoken):
    stage = Stage(tmp_path, spoken.dialect)
    with server(talk(spoken)) as url, stage.proxy("record", ws=url, volatile=("id", "clOrdId")) as proxy:
        seen = use(proxy.ws_url, spoken)
    assert seen == [True, BOOK, (True, True, "1.10"), BOOK]
    assert stage.session.verdict is None
    [connection] = Recording(stage.stem.with_name("test_y.ws.jsonl")).connections
    messages = [event.payload for _, event in connection.events() if isinstance(event, Sent | Received)]
    read = [spoken.read(message) for message in messages]
    assert TOKEN not in json.dumps(read)
    assert read[1]["token"] == read[3]["session"] != TOKEN
    for _ in range(3):
        with stage.proxy("replay", volatile=("id", "clOrdId")) as proxy:
            assert use(proxy.ws_url, spoken) == seen
        assert stage.session.verdict is None
        assert stage.session.unplayed() is None


@pytest.mark.parametrize("spoken", LANGUAGES.values(), ids=LANGUAGES)
def test_another_order_is_a_mismatch_at_its_path(tmp_path, spoken):
    stage = Stage(tmp_path, spoken.dialect)

    def place(url: str, price: str) -> None:
        with connect(url) as ws:
            ws.send(spoken.write({"op": "login", "id": 1, "args": [{"px": price}]}))
            ws.recv(PATIENCE)

    with server(talk(spoken)) as url, stage.proxy("record", ws=url) as proxy:
        place(proxy.ws_url, "1.10")
    with stage.proxy("replay") as proxy, pytest.raises(Exception, match="4900"):
        place(proxy.ws_url, "1.2")
    assert "args.0.px: expected '1.10', actual '1.2'" in str(stage.session.verdict)


def test_a_secret_number_in_messagepack_is_refused_with_the_way_out(tmp_path):
    stage = Stage(tmp_path, Packs())
    with (
        server(lambda ws: ws.send(msgpack.packb({"token": 12345678}))) as url,
        stage.proxy("record", ws=url) as proxy,
    ):
        with connect(proxy.ws_url) as ws:
            ws.recv(PATIENCE)
    assert "the member 'token' of a binary message is secret by its name" in str(stage.session.verdict)
    assert "have secret_fields of the dialect leave it out" in str(stage.session.verdict)
    assert not list(tmp_path.iterdir())
