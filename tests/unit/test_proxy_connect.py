"""The stand-in for ``websockets.connect``: called, awaited, entered and iterated like the original."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, SecurityError
from websockets.http11 import Request

from pytest_connex.proxy.connect import connector
from pytest_connex.proxy.endpoint import Endpoint

from .conftest import URL
from .desk import Desk
from .doorway import Doorway, connects


def test_it_is_a_websockets_connect():
    assert issubclass(connects(Desk().behaviour), connect)


async def test_it_is_awaited_like_the_original():
    ws = await connects(Desk().behaviour)(URL)
    assert isinstance(ws, ClientConnection)
    assert await ws.recv() == "you are at /"
    await ws.close()


async def test_it_is_entered_like_the_original_and_closes_on_the_way_out():
    async with connects(Desk().behaviour)(f"{URL}a?b=1") as ws:
        assert await ws.recv() == "you are at /a?b=1"
    assert ws.close_code == 1000


async def test_it_is_iterated_like_the_original():
    desk = Desk()
    count = 0
    async for ws in connects(desk.behaviour)(URL):
        count += 1
        assert await ws.recv() == "you are at /"
        if count == 3:
            await ws.close()
            break
        desk.endpoint.close(1012, "restart")
        try:
            await ws.recv()
        except ConnectionClosed:
            continue
    assert desk.dials == [URL] * 3


async def test_the_proxy_is_dialled_and_tls_and_transport_options_are_dropped():
    desk = Desk()
    options = {
        "ssl": ssl.create_default_context(),
        "server_hostname": "x",
        "host": "192.0.2.1",
        "port": 1,
        "proxy": "http://192.0.2.1:1",
    }
    doorway = Doorway(desk.behaviour)
    dial = connector(doorway, doorway.open_here)
    async with dial("wss://user.example:443/x", **options):
        pass
    async with dial("wss://user.example:8443/x"):
        pass
    assert [request.headers["Host"] for request in desk.requests] == [f"127.0.0.1:{doorway.address[1]}"] * 2
    assert (desk.options[0], desk.options[1]) == (options, {})
    assert desk.dials == ["wss://user.example:443/x", "wss://user.example:8443/x"]


async def test_options_of_the_client_apply():
    desk = Desk()
    async with connects(desk.behaviour)(
        URL,
        user_agent_header="mine/1",
        additional_headers={"X-A": "1"},
        origin="https://o.example",
        ping_interval=None,
    ) as ws:
        assert ws.ping_interval is None
    headers = desk.requests[0].headers
    assert (headers["User-Agent"], headers["X-A"], headers["Origin"]) == ("mine/1", "1", "https://o.example")


async def test_nothing_that_is_written_waits_for_a_receipt():
    async with connects(Desk().behaviour)(URL) as ws:
        assert ws.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_connection_class_of_the_test_s_own_is_used():
    class Mine(ClientConnection):
        pass

    async with connects(Desk().behaviour)(URL, create_connection=Mine) as ws:
        assert isinstance(ws, Mine)


async def test_redirects_are_followed_and_each_is_a_dial():
    desk = Desk({URL: "/b", f"{URL}b": "wss://other.example/c"})
    async with connects(desk.behaviour)(URL) as ws:
        assert await ws.recv() == "you are at /c"
    assert desk.dials == [URL, f"{URL}b", "wss://other.example/c"]


async def test_a_circle_of_redirects_ends():
    desk = Desk({URL: URL})
    with pytest.raises(SecurityError, match="more than 10 redirects"):
        await connects(desk.behaviour)(URL)
    assert len(desk.dials) == 10


async def test_a_redirect_without_a_location_is_the_error_it_is():
    class Lost(Desk):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            endpoint.reject(302, {}, "")

    with pytest.raises(Exception, match="Location|302") as caught:
        await connects(Lost().behaviour)(URL)
    assert not isinstance(caught.value, asyncio.TimeoutError)


async def test_a_refusal_found_later_is_raised_in_place_of_the_loss_it_looks_like():
    class Later(Desk):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            self.refusal = TimeoutError(110, "Connection timed out")
            endpoint.abort()

    with pytest.raises(TimeoutError, match="Connection timed out") as caught:
        await connects(Later().behaviour)(URL)
    assert caught.value.__cause__ is not None


async def test_a_cancelled_dial_leaves_no_socket_behind():
    dialled = asyncio.Event()

    class Silent(Desk):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            dialled.set()

    task = asyncio.ensure_future(connects(Silent().behaviour)(URL))
    await asyncio.wait_for(dialled.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()  # an unclosed socket would be a warning, and warnings are errors here


@pytest.mark.parametrize("url", ["https://ws.connex.invalid/", "nonsense"])
async def test_what_is_no_websocket_url_is_the_original_s_error(url):
    with pytest.raises(InvalidURI):
        await connects(Desk().behaviour)(url)
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_rejection_is_the_original_s_error():
    class No(Desk):
        def dialled(self, endpoint: Endpoint, request: Request) -> None:
            endpoint.reject(403, {}, "no")

    with pytest.raises(InvalidStatus):
        await connects(No().behaviour)(URL)
