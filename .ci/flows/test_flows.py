"""Flows of REST and WebSocket as trading programs have them: each keeps all that its client saw, in order.

What a client did, the tape orders: these flows see the same in every replay.
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx_ws
import pytest
import requests
import websocket
import websockets
import websockets.sync.client
from trading import BUY, LONG, SELL, hear, reading, say, subscribed

# one connection, one client


async def test_order_and_fill(session, rest, ws_url, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        for order in (BUY, SELL, BUY):
            async with session.post(f"{rest}/orders", json=order) as answer:
                seen.append(await answer.json())
            seen.append(await hear(ws))
    same(seen)


async def test_snapshot_and_bridge(http, rest, ws_url, same):
    """Updates are kept until the snapshot is there; older ones are left out, and no number may be missing."""
    kept, applied = asyncio.Queue(), []

    async def read() -> None:
        while True:
            message = await hear(ws)
            if "sequence" in message:
                kept.put_nowait(message)

    async with websockets.connect(ws_url) as ws:
        reader = asyncio.create_task(read())
        await say(ws, "subscribe", channel="book")
        first = await kept.get()
        snapshot = (await http.get(f"{rest}/book")).json()
        assert first["sequence"] <= snapshot["sequence"] + 1
        arrived, sequence = [first, *[kept.get_nowait() for _ in range(kept.qsize())]], snapshot["sequence"]
        while len(applied) < 8:
            update = arrived.pop(0) if arrived else await kept.get()
            if update["sequence"] > sequence:
                assert update["sequence"] == sequence + 1
                sequence = update["sequence"]
                applied.append(update)
        reader.cancel()
    same([snapshot, applied])


async def test_polling_beside_a_stream(session, rest, ws_url, same):
    """Whoever polls knows of each filled order already from the stream."""
    seen, fills = [], []

    async def read() -> None:
        async for text in ws:
            fills.append(json.loads(text)["id"])

    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(read())
        async with session.post(f"{rest}/orders", json=[BUY, SELL, BUY]) as answer:
            assert len((await answer.json())["orders"]) == 3
        position = 0
        while position < 3:
            async with session.get(f"{rest}/orders", params={"status": "filled"}) as answer:
                position = (await answer.json())["position"]
            await asyncio.sleep(0.05)
            seen.append(position)
            assert len(fills) >= position
        reader.cancel()
    same([seen, fills])


async def test_poll_until_the_stream_tells(http, rest, ws_url, same):
    """The stream ends the polling: there are as many polls as when it was recorded, and each shows as much."""
    seen = []

    async def read() -> None:
        await reading(ws, seen, lambda message: len([1 for one in seen if isinstance(one, dict)]) == 3)

    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(read())
        await http.post(f"{rest}/orders", json=[BUY, SELL, BUY])
        while not reader.done():
            position = (await http.get(f"{rest}/orders", params={"status": "filled"})).json()["position"]
            seen.append(position)
            await asyncio.sleep(0.05)
        await reader
    # Where a fill and a poll meet, either may be read first.
    same([one for one in seen if isinstance(one, int)])


async def test_cancel_in_time(session, rest, ws_url, same):
    seen = []
    async with session.ws_connect(ws_url) as ws:
        await ws.send_json({"op": "subscribe", "channel": "orders"})
        seen.append(await ws.receive_json())
        async with session.post(f"{rest}/orders", json=BUY) as answer:
            seen.append(placed := await answer.json())
        async with session.delete(f"{rest}/orders/{placed['id']}") as answer:
            seen.append([answer.status, await answer.json()])
        seen.append(await ws.receive_json())
        async with session.get(f"{rest}/orders") as answer:
            seen.append(await answer.json())
    same(seen)


async def test_batch_of_orders(http, rest, ws_url, same):
    placed, fills = [], []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(reading(ws, fills, lambda message: len(fills) == 5))
        for number in range(2):
            wanted = [{**BUY, "ref": f"r{number}-{index}"} for index in range(3 - number)]
            placed.append((await http.post(f"{rest}/orders", json=wanted)).json()["orders"])
        await reader
    same([placed, fills])


async def test_heartbeats_between(http, rest, ws_url, same):
    """Heartbeats come all the time; the client counts them between what it does."""
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "heartbeat", "orders")
        for order in (BUY, SELL):
            seen.append((await http.post(f"{rest}/orders", json=order)).json())
            await reading(ws, seen, lambda message: message.get("event") == "fill")
    same(seen)


async def test_unsubscribe_while_updates_come(ws_url, rest, http, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "book")
        for _ in range(3):
            seen.append(await hear(ws))
        await say(ws, "unsubscribe", channel="book")
        await reading(ws, seen, lambda message: message.get("event") == "unsubscribed")
        seen.append((await http.get(f"{rest}/book")).json())
        await say(ws, "ping", note="still here")
        seen.append(await hear(ws))
    same(seen)


async def test_orders_over_the_websocket_confirmed_by_rest(http, rest, ws_url, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        for number, order in enumerate((BUY, SELL)):
            await say(ws, "order", **order, ref=f"r{number}")
            seen.append(placed := await hear(ws))
            url = f"{rest}/orders/{placed['order']['id']}"
            seen.append((await http.get(url)).json())
            seen.append(await hear(ws))
            seen.append((await http.get(url)).json())
    same(seen)


# logging in


def test_login_by_rest_then_token_on_the_websocket(rest, ws_url, same):
    seen = []
    refused = requests.post(f"{rest}/login", json={"password": "guessed"})
    seen.append([refused.status_code, refused.json()])
    token = requests.post(f"{rest}/login", json={"password": "open-sesame-9"}).json()["token"]
    with websockets.sync.client.connect(ws_url) as ws:
        for message in ({"op": "auth", "token": token}, {"op": "subscribe", "channel": "orders"}):
            ws.send(json.dumps(message))
            seen.append(json.loads(ws.recv(timeout=LONG)))
        headers = {"Authorization": f"Bearer {token}"}
        seen.append(requests.post(f"{rest}/orders", json=BUY, headers=headers).json())
        seen.append(json.loads(ws.recv(timeout=LONG)))
    same(seen)


async def test_address_of_the_stream_from_rest(session, connex_config, rest, same):
    seen = []
    async with session.post(f"{rest}/stream-key") as answer:
        seen.append([answer.status, path := (await answer.json())["path"]])
    async with session.ws_connect(connex_config.ws_url.rstrip("/") + path) as ws:
        await ws.send_json({"op": "subscribe", "channel": "orders"})
        seen.append(await ws.receive_json())
        async with session.post(f"{rest}/moved", json=BUY) as answer:  # redirected, with its body
            seen.append([len(answer.history), await answer.json()])
        seen.append(await ws.receive_json())
    same(seen)


# several connections, several servers


async def test_two_venues(session, http, connex_proxy, account, rest, ws_url, same):
    """What is bought here is sold there, as soon as it is known to be filled."""
    seen = []
    venue = f"{connex_proxy.url('venue').rstrip('/')}/{account}"
    async with (
        websockets.connect(ws_url) as here,
        websockets.connect(venue.replace("http", "ws", 1) + "/ws") as there,
    ):
        await subscribed(here, "orders")
        await subscribed(there, "orders")
        for _ in range(3):
            seen.append(["here", (await http.post(f"{rest}/orders", json=BUY)).json()])
            seen.append(["here", await hear(here)])
            async with session.post(f"{venue}/orders", json=SELL) as answer:
                seen.append(["there", await answer.json()])
            seen.append(["there", await hear(there)])
    same(seen)


async def test_two_websockets(http, rest, ws_url, same):
    """Market data on one, orders on the other: an order is placed at the fifth update, and its fill comes then."""
    seen, fills = [], []
    async with websockets.connect(ws_url) as market, websockets.connect(ws_url) as own:
        await subscribed(own, "orders")
        await subscribed(market, "book")
        reader = asyncio.create_task(reading(own, fills, lambda message: True))
        for _ in range(5):
            seen.append(await hear(market))
        seen.append((await http.post(f"{rest}/orders", json=BUY)).json())
        await reader
    same([seen, fills])


async def test_sse_beside_a_websocket(session, rest, ws_url, same):
    streamed, said, placed = [], [], []

    async def stream() -> None:
        async with session.get(f"{rest}/events") as answer:
            async for line in answer.content:
                streamed.append(line.decode())
                if line.startswith(b": welcome"):
                    welcome.set()
                if len([one for one in streamed if one.startswith("data")]) == 3:
                    return

    welcome = asyncio.Event()
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        streaming = asyncio.create_task(stream())
        await welcome.wait()
        for order in (BUY, SELL, BUY):
            async with session.post(f"{rest}/orders", json=order) as answer:
                placed.append(await answer.json())
            said.append(await hear(ws))
        await streaming
    same([streamed, said, placed])


async def test_long_poll_beside_a_websocket(http, rest, ws_url, same):
    seen = []

    async def poll() -> None:
        after = 0
        while after < 3:
            answer = (await http.get(f"{rest}/poll", params={"after": str(after)})).json()
            polled.append(answer)
            after = answer["next"]

    polled = []
    async with websockets.connect(ws_url) as ws, httpx.AsyncClient(timeout=LONG) as orders:
        await subscribed(ws, "orders")
        polling = asyncio.create_task(poll())
        for order in (BUY, SELL, BUY):
            seen.append((await orders.post(f"{rest}/orders", json=order)).json())
            seen.append(await hear(ws))
        await polling
    same([seen, polled])


# what goes wrong


async def test_reconnect_with_resync(http, rest, ws_url, same):
    seen = []
    for number in range(3):
        async with websockets.connect(ws_url) as ws:
            await subscribed(ws, "orders")
            seen.append((await http.get(f"{rest}/orders")).json())
            seen.append((await http.post(f"{rest}/orders", json=BUY)).json())
            if number % 2 == 0:
                seen.append(await hear(ws))
            await say(ws, "drop")
            with pytest.raises(websockets.ConnectionClosedError):
                seen.append(await hear(ws))
        seen.append(ws.close_code)
        while (await http.get(f"{rest}/orders")).json()["position"] <= number:
            await asyncio.sleep(0.02)
    same(seen)


def test_rate_limit_then_retry(rest, ws_url, same):
    seen = []
    with websockets.sync.client.connect(ws_url) as ws:
        for number in range(3):
            while (answer := requests.get(f"{rest}/limited")).status_code == 429:
                seen.append([answer.status_code, answer.headers["Retry-After"], answer.json()])
            seen.append(answer.json())
            ws.send(json.dumps({"op": "ping", "note": f"got {number}"}))
            seen.append(json.loads(ws.recv(timeout=LONG)))
    same(seen)


async def test_timeout_then_retry(rest, ws_url, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        for timeout in (1, LONG):
            async with httpx.AsyncClient(timeout=timeout) as client:
                try:
                    seen.append((await client.get(f"{rest}/slow")).json())
                except httpx.ReadTimeout:
                    seen.append("timed out")
            seen.append(await hear(ws))
    same(seen)


# threads, and blocking clients


async def test_rest_in_threads_beside_an_asyncio_websocket(rest, ws_url, same):
    placed, fills = [], []

    async def place(number: int) -> None:
        order = {**BUY, "ref": f"thread-{number}"}
        answer = await asyncio.to_thread(requests.post, f"{rest}/orders", json=order)
        placed.append(answer.json())

    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        await asyncio.gather(*map(place, range(4)))
        for _ in range(4):
            fills.append(await hear(ws))
    by_reference = sorted(placed, key=lambda order: order["ref"])
    assert {fill["id"] for fill in fills} == {order["id"] for order in placed}
    same([by_reference, fills])


def test_blocking_websocket_with_requests(rest, ws_url, same):
    seen = []
    with requests.Session() as session, websockets.sync.client.connect(ws_url) as ws:
        ws.send(json.dumps({"op": "subscribe", "channel": "orders"}))
        seen.append(json.loads(ws.recv(timeout=LONG)))
        for order in (BUY, SELL, BUY):
            seen.append(session.post(f"{rest}/orders", json=order).json())
            seen.append(json.loads(ws.recv(timeout=LONG)))
        seen.append(session.get(f"{rest}/orders").json())
    same(seen)


def test_websocket_client_with_urllib_in_two_threads(rest, ws_url, same):
    """The reader is a thread; the fill that it reads lets the next order be placed."""
    told, placed, filled = [], [], threading.Semaphore(0)
    ws = websocket.create_connection(ws_url, timeout=LONG)

    def read() -> None:
        for _ in range(4):
            told.append(json.loads(ws.recv()))
            filled.release()

    ws.send(json.dumps({"op": "subscribe", "channel": "orders"}))
    reader = threading.Thread(target=read)
    reader.start()
    for order in (BUY, SELL, BUY):
        assert filled.acquire(timeout=LONG)
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{rest}/orders", json.dumps(order).encode(), headers)
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            placed.append(json.loads(answer.read()))
    reader.join(LONG)
    ws.close()
    same([told, placed])


async def test_httpx_ws_with_httpx(http, rest, ws_url, same):
    seen = []
    async with httpx_ws.aconnect_ws(ws_url, http) as ws:
        await ws.send_json({"op": "subscribe", "channel": "orders"})
        seen.append(await ws.receive_json())
        for order in (BUY, SELL):
            seen.append((await http.post(f"{rest}/orders", json=order)).json())
            seen.append(await ws.receive_json())
    same(seen)


def test_pool_of_threads_asks_while_a_book_is_followed(rest, ws_url, same):
    """Four threads ask for the same, which answers each with how often it was asked before; the book goes on."""
    updates = []
    with websockets.sync.client.connect(ws_url) as ws, ThreadPoolExecutor(4) as pool:
        ws.send(json.dumps({"op": "subscribe", "channel": "book"}))
        assert json.loads(ws.recv(timeout=LONG))["event"] == "subscribed"
        answers = [pool.submit(requests.get, f"{rest}/delayed", params={"ms": str(50 + ms)}) for ms in range(8)]
        for _ in range(20):
            updates.append(json.loads(ws.recv(timeout=LONG)))
        asked = [answer.result().json() for answer in answers]
    same([asked, updates])


# a connection that several tests share


@pytest.fixture(scope="module")
def shared(connex_config) -> Iterator[tuple[str, websockets.sync.client.ClientConnection]]:
    """A connection that is subscribed when the first test comes, and says farewell after the last."""
    base = connex_config.rest_url.rstrip("/") + "/shared"
    with websockets.sync.client.connect(connex_config.ws_url.rstrip("/") + "/shared/ws") as ws:
        ws.send(json.dumps({"op": "subscribe", "channel": "orders"}))
        assert json.loads(ws.recv(timeout=LONG))["event"] == "subscribed"
        assert requests.get(f"{base}/orders").json()["position"] == 0
        yield base, ws
        ws.send(json.dumps({"op": "ping", "note": "farewell"}))
        assert json.loads(ws.recv(timeout=LONG))["note"] == "farewell"


@pytest.mark.parametrize("quantity", ["1", "2.0", "3.00"])
def test_shared_websocket(shared, same, quantity):
    base, ws = shared
    seen = [requests.post(f"{base}/orders", json={"side": "buy", "quantity": quantity}).json()]
    seen.append(json.loads(ws.recv(timeout=LONG)))
    ws.send(json.dumps({"op": "ping", "note": quantity}))
    seen.append(json.loads(ws.recv(timeout=LONG)))
    same(seen)
