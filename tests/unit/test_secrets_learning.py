"""What is learned at a place whose name says that it is secret is replaced wherever it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection

from pytest_connex.cassette.events import Header, Received
from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_recorder import HttpRecorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.cassette.writing import CassetteWriter
from pytest_connex.errors import SecretFound
from pytest_connex.protocol import Dialect
from pytest_connex.proxy.proxy import Proxy
from pytest_connex.secrets.learning import LearningRedactor

from .upstream import PATIENCE, Asked, Stage, Upstream, ok, server

FIELDS = (*Dialect.secret_fields, "password")
FIRST, SECOND = "LKpqia91ma19a5s61cv6a81va65sdf19v8a65a1", "Zz77pqia91ma19a5s61cv6a81va65sdf19v8a00"


def learning() -> LearningRedactor:
    return LearningRedactor({"a-key-of-mine-0123": "connex-recorded-key"}, FIELDS, ("x-my-key",), ("data.signature",))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (f'{{"listenKey": "{FIRST}"}}', "listenkey"),
        (f'{{"a": [{{"ListenKey" : "{FIRST}", "n": 1.10}}]}}', "listenkey"),
        (f"https://x.example/a?n=1&token={FIRST}", "token"),
        (f"password={FIRST}&n=1", "password"),
    ],
)
def test_a_value_is_learned_from_a_member_or_a_parameter(place, name):
    redactor, shown = learning(), f"connex-recorded-{name}"
    assert redactor.heard(place) == place.replace(FIRST, shown)
    assert redactor.text(f'wss://ws.example/ws/{FIRST}?x=["{FIRST}"]') == f'wss://ws.example/ws/{shown}?x=["{shown}"]'
    assert redactor.header("X-Session", FIRST) == shown
    assert redactor.binary(b"\x80" + FIRST.encode()) == b"\x80" + shown.encode().ljust(len(FIRST), b"-")
    assert redactor.learned == 1


@pytest.mark.parametrize(
    ("header", "value", "shown"),
    [
        ("Authorization", f"Bearer {FIRST}", "Bearer connex-recorded-authorization"),
        ("Authorization", FIRST, "connex-recorded-authorization"),
        ("Set-Cookie", f"sid={FIRST}; Path=/", "sid=connex-recorded-sid; Path=/"),
        ("Cookie", f"a=1; sid={FIRST}", "a=connex-recorded-a; sid=connex-recorded-sid"),
        ("X-My-Key", FIRST, "connex-recorded-x-my-key"),
    ],
)
def test_so_it_is_from_a_header_or_a_cookie(header, value, shown):
    redactor = learning()
    assert redactor.heard_header(header, value) == shown
    assert FIRST not in redactor.text(f'{{"again": "{FIRST}"}}')


def test_each_value_has_a_placeholder_of_its_own_and_keeps_it():
    redactor = learning()
    texts = [redactor.heard(f'{{"listenKey": "{key}"}}') for key in (FIRST, SECOND, FIRST)]
    names = ["connex-recorded-listenkey", "connex-recorded-listenkey-2", "connex-recorded-listenkey"]
    assert texts == [f'{{"listenKey": "{name}"}}' for name in names]
    assert redactor.text(f"{SECOND}/{FIRST}") == f"{names[1]}/{names[0]}"
    again = learning()
    assert [again.text(text) for text in texts] == texts  # a client that replays sends what it was given


@pytest.mark.parametrize(
    "value",
    [
        "ETHEREUM",
        "1234567890",
        "1700000000000000",
        "BTC-USDT-PERPETUAL",
        "ETH-USDT-20251226",
        "abc123",
        "",
        "connex-recorded-token-9",
        "\ud800abcdef0123456789abcdef0",
    ],
)
def test_what_may_be_anything_is_replaced_in_its_place_only(value):
    redactor = learning()
    redactor.heard(f'{{"token": "{value}"}}')
    redactor.heard_header("Set-Cookie", f"seen={value}")
    assert redactor.learned == 0
    assert redactor.text(f'{{"symbol": "{value}"}}') == f'{{"symbol": "{value}"}}'


def test_what_differs_in_every_message_is_not_learned():
    redactor = learning()
    for number in range(100):
        redactor.heard(f'{{"data": {{"signature": "a1b2{number:060x}"}}}}')
    assert redactor.learned == 0


def test_what_a_client_sends_is_replaced_in_its_place_only():
    redactor = learning()
    texts = [redactor.text(f"?token={key}") for key in (SECOND, FIRST)]
    assert texts == ["?token=connex-recorded-token"] * 2
    assert redactor.header("Authorization", f"Bearer {FIRST}") == "connex-recorded-authorization"
    assert redactor.learned == 0


def test_a_secret_that_begins_with_a_known_one_is_replaced_whole():
    redactor, secret = learning(), "a-key-of-mine-0123:5f0c9a77deadbeef"
    assert redactor.header("Authorization", f"HMAC {secret}") == "connex-recorded-authorization"
    assert redactor.text(f'{{"token": "{secret}"}}') == '{"token": "connex-recorded-token"}'
    assert redactor.header("Set-Cookie", f"sid={secret}") == "sid=connex-recorded-sid"


def test_what_stands_before_the_place_where_it_is_learned_is_replaced_too():
    text = json.dumps({"data": {"id": FIRST, "token": FIRST}})
    assert FIRST not in str(learning().heard(text))


def test_a_value_that_is_no_text_is_replaced_and_not_learned():
    redactor = learning()
    assert b"abcdefghij" not in redactor.heard(b'{"token":"abcdefghij0k1l2m3\xff"}')
    redactor.heard('{"token": "%s"}' % FIRST)
    assert redactor.learned == 1


def test_so_many_values_are_learned_and_no_more():
    redactor = learning()
    for number in range(300):
        assert str(number) + "z" not in redactor.heard(f'{{"token": "a1b2c3d4e5-{number}z"}}')
    assert redactor.learned == 200


def test_an_escaped_value_is_learned_as_it_is_meant():
    redactor = learning()
    redactor.heard(json.dumps({"password": 'pass"1word2/with 17 more'}))
    redactor.heard("token=a1%2Fb2%2Bc3%3D0123456789")
    assert "with" not in redactor.text('pass"1word2/with 17 more')
    assert redactor.header("X-Any", "a1/b2+c3=0123456789") == "connex-recorded-token"


def test_a_line_that_was_written_before_is_found_and_refused(tmp_path: Path):
    redactor = learning()
    path = tmp_path / "a.ws.jsonl"
    header = Header("connex-ws", 2, "2026-01-01T00:00:00Z", "sandbox", "made by hand", "test_x.py::test_y")
    writer = CassetteWriter(path, header, redactor)
    writer.write_messages([Received(1, 0.1, json.dumps({"x": FIRST})), Received(1, 0.2, "[]")])
    redactor.heard(json.dumps({"token": FIRST}))
    with pytest.raises(SecretFound, match="pytest_connex_secrets") as caught:
        writer.finish()
    writer.discard()
    assert (caught.value.path, caught.value.line) == (path, 2)
    assert FIRST not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_so_is_a_request_that_was_made_before(tmp_path: Path):
    failures: list[Exception] = []
    recorder = HttpRecorder(
        tmp_path / "a.yaml", learning(), {"rest": "http://here"}, TapeClock(lambda: 0.0), failures.append
    )
    for url, body in ((f"/s/{FIRST}", b"{}"), ("/login", json.dumps({"token": FIRST}).encode())):
        conversation = recorder.asked(HttpRequest("GET", f"http://here{url}", [], b""))
        conversation.answered(200, "OK", [])
        conversation.piece(body)
        conversation.ended("whole")
    facts = {"recorded_at": "2026-01-01T00:00:00Z", "source": "sandbox", "generator": "made by hand", "test": "t"}
    writer = recorder.writer(facts)
    assert writer is not None
    with pytest.raises(SecretFound, match="pytest_connex_secrets"):
        writer.finish()
    writer.discard()
    recorder.close()
    assert failures == []


# --- From end to end --------------------------------------------------------------------------------------


class Exchange:
    """Hands out two keys, one after the other, and knows them again wherever they come."""

    def __init__(self) -> None:
        self._keys = [FIRST, SECOND]

    async def answer(self, asked: Asked, writer: Any) -> None:
        if asked.method == "POST":
            writer.write(ok(json.dumps({"listenKey": self._keys.pop(0)}).encode()))
        else:
            known = any(key in asked.target or key in str(asked.headers) for key in (FIRST, SECOND))
            writer.write(ok(json.dumps({"known": known, "price": "1.10"}).encode()))
        await writer.drain()

    @staticmethod
    def talk(ws: ServerConnection) -> None:
        assert ws.request is not None
        ws.send(json.dumps({"stream": ws.request.path.rpartition("/")[2]}))
        for message in ws:
            ws.send(json.dumps({"result": json.loads(message)["params"]}))

    @contextmanager
    def open(self) -> Iterator[tuple[str, str]]:
        with server(self.talk) as url, Upstream(self.answer) as upstream:
            yield upstream.url, url.rstrip("/")


def use(proxy: Proxy) -> list[Any]:
    """Use both keys in every place; return what was seen, with the keys called by their numbers."""
    seen: list[Any] = []
    keys = []
    for _ in range(2):
        key = requests.post(f"{proxy.rest_url}/userDataStream", timeout=PATIENCE).json()["listenKey"]
        keys.append(key)
        seen.append(requests.get(f"{proxy.rest_url}/renew/{key}", timeout=PATIENCE).json())
        seen.append(requests.get(f"{proxy.rest_url}/x", headers={"X-Session": key}, timeout=PATIENCE).json())
        with connect(f"{proxy.ws_url}/ws/{key}") as ws:
            seen.append(ws.recv(PATIENCE))
            ws.send(json.dumps({"method": "SUBSCRIBE", "params": [keys[0], key], "id": 1}))
            seen.append(ws.recv(PATIENCE))
    text = json.dumps(seen)
    for number, key in sorted(enumerate(keys), key=lambda pair: -len(pair[1])):
        text = text.replace(key, f"key {number}")
    return json.loads(text)


def test_a_key_that_the_server_hands_out_is_in_no_file_and_opens_what_it_opened(tmp_path: Path):
    stage = Stage(tmp_path)
    with Exchange().open() as (rest, ws), stage.proxy("record", rest, ws) as proxy:
        seen = use(proxy)
    assert stage.session.verdict is None
    files = [path.read_text("utf-8") for path in tmp_path.iterdir()]
    assert len(files) == 2
    assert not any(key in text for key in (FIRST, SECOND) for text in files)
    assert all(
        "/ws/connex-recorded-listenkey-2" in text or "/renew/connex-recorded-listenkey-2" in text for text in files
    )
    with stage.proxy("replay") as proxy:
        assert use(proxy) == seen
    assert stage.session.verdict is None
    assert stage.session.unplayed() is None
