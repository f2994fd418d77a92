"""Flows whose client does two things at once, and keeps in one list what happens to come first.

When they are recorded, a good while lies between the two. In a replay nothing does, and which of two sockets the
client reads first is its own affair. They show how much of the recorded order it sees nevertheless.
"""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request

import websocket
import websockets
from trading import BUY, LONG, SELL, hear, reading, say, subscribed


async def test_fill_handler_needs_the_answer(http, rest, ws_url, same):
    """A reader of its own looks up the order of each fill among those that have been answered."""
    seen, known = [], {}

    async def read() -> None:
        for _ in range(3):
            fill = await hear(ws)
            seen.append(["fill", fill["id"], "known" if fill["id"] in known else "unknown"])

    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(read())
        for order in (BUY, SELL, BUY):
            placed = (await http.post(f"{rest}/orders", json=order)).json()
            known[placed["id"]] = placed
            seen.append(["placed", placed["id"]])
        await reader
    same(seen)


async def test_cancel_while_a_fill_is_under_way(http, rest, ws_url, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        placed = (await http.post(f"{rest}/orders", json=BUY)).json()
        seen.append(placed)
        reader = asyncio.create_task(reading(ws, seen, lambda message: True))
        answer = await http.delete(f"{rest}/orders/{placed['id']}", params={"within": "0.6"})
        seen.append([answer.status_code, answer.json()])
        await reader
    same(seen)


async def test_parallel_requests_answered_out_of_order(session, rest, ws_url, same):
    seen = []

    async def ask(ms: int) -> None:
        async with session.get(f"{rest}/delayed", params={"ms": str(ms)}) as answer:
            seen.append(await answer.json())

    async with websockets.connect(ws_url) as ws:
        await asyncio.gather(*map(ask, (900, 100, 700, 500, 300)))
        await say(ws, "ping", note="all are there")
        seen.append(await hear(ws))
    same(seen)


async def test_export_in_pieces_beside_a_websocket(http, rest, ws_url, same):
    """Each line of a streamed answer is told on the WebSocket a moment later: one list for both."""
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(reading(ws, seen, lambda message: message.get("trade") == 4))
        async with http.stream("GET", f"{rest}/history") as answer:
            async for line in answer.aiter_lines():
                seen.append(line)
        await reader
    same(seen)


async def test_batch_of_orders_in_one_list(http, rest, ws_url, same):
    seen = []
    async with websockets.connect(ws_url) as ws:
        await subscribed(ws, "orders")
        reader = asyncio.create_task(reading(ws, seen, lambda message: len(seen) == 7))
        for number in range(2):
            wanted = [{**BUY, "ref": f"r{number}-{index}"} for index in range(3 - number)]
            seen.append((await http.post(f"{rest}/orders", json=wanted)).json()["orders"])
        await reader
    same(seen)


def test_two_threads_with_one_list(rest, ws_url, same):
    """The reader is a thread; the fill that it reads lets the next order be placed."""
    seen, filled = [], threading.Semaphore(0)
    ws = websocket.create_connection(ws_url, timeout=LONG)

    def read() -> None:
        for _ in range(4):
            seen.append(json.loads(ws.recv()))
            filled.release()

    ws.send(json.dumps({"op": "subscribe", "channel": "orders"}))
    reader = threading.Thread(target=read)
    reader.start()
    for order in (BUY, SELL, BUY):
        assert filled.acquire(timeout=LONG)
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{rest}/orders", json.dumps(order).encode(), headers)
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            seen.append(json.loads(answer.read()))
    reader.join(LONG)
    ws.close()
    same(seen)
