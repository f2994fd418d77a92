"""What a client makes up anew in every run may differ, wherever it sends it, and comes back wherever it came back."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection

from pytest_connex.proxy.proxy import Proxy

from .upstream import PATIENCE, Asked, Stage, Upstream, ok, server

NAME = "clientOrderId"
VOLATILE = (NAME,)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Exchange:
    """Repeats over REST and WebSocket what it is asked with."""

    def __init__(self) -> None:
        self._orders: list[str] = []

    async def answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        body = asked.body.decode()
        given = json.loads(body)[NAME] if body.startswith("{") else None
        mine = given or parse_qs(body or urlsplit(asked.target).query)[NAME][0]
        self._orders.append(mine)
        said = json.dumps({"result": {NAME: mine, "price": "1.10", "id": 3}}).encode()
        if asked.target.startswith("/stream"):
            writer.write(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said))
        else:
            writer.write(ok(said))
        await writer.drain()

    def talk(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        dialled = parse_qs(urlsplit(ws.request.path).query).get(NAME, [""])[0]
        ws.send(json.dumps({"welcome": dialled, "id": 3}))
        for message in ws:
            ws.send(json.dumps({"fills": [{"c": order, "px": 1.10} for order in self._orders], "of": message}))

    @contextmanager
    def open(self) -> Iterator[tuple[str, str]]:
        with server(self.talk) as url, Upstream(self.answer) as upstream:
            yield upstream.url, url.rstrip("/")


def by_json(proxy: Proxy, mine: str) -> Any:
    return requests.post(f"{proxy.rest_url}/order", json={NAME: mine, "n": 1}, timeout=PATIENCE).text


def by_form(proxy: Proxy, mine: str) -> Any:
    return requests.post(f"{proxy.rest_url}/order", data={"n": 1, NAME: mine}, timeout=PATIENCE).text


def by_query(proxy: Proxy, mine: str) -> Any:
    return requests.get(f"{proxy.rest_url}/order", params={NAME: mine}, timeout=PATIENCE).text


def in_a_stream(proxy: Proxy, mine: str) -> Any:
    return requests.get(f"{proxy.rest_url}/stream", params={NAME: mine}, timeout=PATIENCE).text


def by_dial(proxy: Proxy, mine: str) -> Any:
    with connect(f"{proxy.ws_url}/?{NAME}={mine}") as ws:
        return ws.recv(PATIENCE)


def by_rest_and_back_on_a_websocket(proxy: Proxy, mine: str) -> Any:
    with connect(proxy.ws_url) as ws:
        seen = [ws.recv(PATIENCE), by_json(proxy, mine)]
        ws.send("fills")
        return [*seen, ws.recv(PATIENCE)]


WAYS = (by_json, by_form, by_query, in_a_stream, by_dial)


@pytest.mark.parametrize("use", [*WAYS, by_rest_and_back_on_a_websocket])
def test_it_comes_back_as_it_was_sent_in_this_run(stage: Stage, use: Callable[[Proxy, str], Any]) -> None:
    seen = []
    with Exchange().open() as (rest, ws), stage.proxy("record", rest, ws, VOLATILE) as proxy:
        recorded = str(uuid.uuid4())
        seen.append(json.dumps(use(proxy, recorded)).replace(recorded, "mine"))
    assert stage.session.verdict is None
    for mine in (str(uuid.uuid4()), "of-another-length"):
        with stage.proxy("replay", volatile=VOLATILE) as proxy:
            seen.append(json.dumps(use(proxy, mine)).replace(mine, "mine"))
        assert stage.session.verdict is None
        assert stage.session.unplayed() is None
    assert "mine" in seen[0]
    assert len(set(seen)) == 1


@pytest.mark.parametrize("use", WAYS)
def test_what_nobody_calls_volatile_must_be_as_it_was(stage: Stage, use: Callable[[Proxy, str], Any]) -> None:
    with Exchange().open() as (rest, ws), stage.proxy("record", rest, ws) as proxy:
        use(proxy, str(uuid.uuid4()))
    with stage.proxy("replay") as proxy:
        try:
            use(proxy, str(uuid.uuid4()))
        except Exception:
            pass
    assert f"if {NAME} is made up anew in every run" in str(stage.session.verdict)
    assert f'@pytest.mark.connex(volatile=["{NAME}"])' in str(stage.session.verdict)


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)
