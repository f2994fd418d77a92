"""A small gateway, and a venue behind it, for the flows: orders over REST, fills over WebSocket, and the rest.

    python server.py    # prints four export lines and serves until it is ended

The first part of every path names an account. Each account has its own orders, books and connections, so that flows
know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Coroutine
from itertools import count

from aiohttp import WSCloseCode, WSMsgType, web

TICK = 0.02
"""Seconds between two updates of a book."""

LATENCY = 0.3
"""Seconds from an order to its fill; long enough that a client on a busy machine has the answer to its order."""


class Account:
    """What one account has: orders, a book whose sequence goes on, and connections that are told of both."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.orders: dict[str, dict[str, str]] = {}
        self.sockets: dict[web.WebSocketResponse, set[str]] = {}
        self.streams: set[web.StreamResponse] = set()
        self.events: list[dict[str, object]] = []
        self.happened = asyncio.Condition()
        self.sequence = 100
        self.visits: defaultdict[str, int] = defaultdict(int)
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def soon(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` beside what is done now."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def tell(self, channel: str, message: dict[str, object]) -> None:
        """Tell every connection that has subscribed."""
        for ws, channels in list(self.sockets.items()):
            if channel in channels and not ws.closed:
                await ws.send_json({"channel": channel, **message})

    async def happen(self, event: dict[str, object]) -> None:
        """Tell of what has become of an order: WebSockets, streams of events and long polls, in this order."""
        await self.tell("orders", event)
        for stream in list(self.streams):
            await stream.write(f"event: {event['event']}\ndata: {json.dumps(event)}\n\n".encode())
        async with self.happened:
            self.events.append(event)
            self.happened.notify_all()

    def place(self, wanted: dict[str, str], latency: float = LATENCY) -> dict[str, str]:
        """Take an order, which is filled later."""
        number = f"{self.name}-{next(self._numbers)}"
        order = {"id": number, "status": "new", "side": wanted["side"], "quantity": wanted["quantity"]}
        if "ref" in wanted:
            order["ref"] = wanted["ref"]
        self.orders[number] = order
        self.soon(self._fill(number, latency))
        return dict(order)

    async def _fill(self, number: str, latency: float) -> None:
        await asyncio.sleep(latency)
        order = self.orders[number]
        if order["status"] == "new":
            order["status"] = "filled"
            await self.happen({"event": "fill", "id": number, "quantity": order["quantity"]})

    async def run_book(self) -> None:
        """Move the book as long as somebody follows it."""
        while any("book" in channels for channels in self.sockets.values()):
            await asyncio.sleep(TICK)
            self.sequence += 1
            await self.tell("book", {"sequence": self.sequence, "bid": f"{2000 + self.sequence / 100:.2f}"})

    @property
    def position(self) -> int:
        """How many orders are filled."""
        return sum(order["status"] == "filled" for order in self.orders.values())


ACCOUNTS: dict[str, Account] = {}


def account_of(request: web.Request) -> Account:
    name = request.match_info["account"]
    return ACCOUNTS.setdefault(name, Account(name))


# REST


async def log_in(request: web.Request) -> web.Response:
    wanted = await request.json()
    if wanted["password"] != "open-sesame-9":
        return web.json_response({"error": "wrong password"}, status=401)
    return web.json_response({"token": f"tok-{request.match_info['account']}-5f2c9b7e", "expires": 3600})


async def place(request: web.Request) -> web.Response:
    account, wanted = account_of(request), await request.json()
    if isinstance(wanted, list):
        placed = [account.place(one, LATENCY * (1 + index / 2)) for index, one in enumerate(wanted)]
        return web.json_response({"orders": placed})
    return web.json_response(account.place(wanted))


async def orders(request: web.Request) -> web.Response:
    account, status = account_of(request), request.query.get("status")
    found = [order for order in account.orders.values() if status in (None, order["status"])]
    return web.json_response({"orders": found, "position": account.position})


async def order(request: web.Request) -> web.Response:
    return web.json_response(account_of(request).orders[request.match_info["number"]])


async def cancel(request: web.Request) -> web.Response:
    """Cancel an order, which takes so long that it may be filled meanwhile."""
    account, number = account_of(request), request.match_info["number"]
    await asyncio.sleep(float(request.query.get("within", "0")))
    found = account.orders[number]
    if found["status"] != "new":
        return web.json_response({"error": "too late", "status": found["status"]}, status=409)
    found["status"] = "cancelled"
    account.soon(account.happen({"event": "cancelled", "id": number}))
    return web.json_response(found)


async def book(request: web.Request) -> web.Response:
    sequence = account_of(request).sequence
    await asyncio.sleep(TICK * 2)  # the snapshot is older than what has been sent meanwhile
    return web.json_response({"sequence": sequence, "bid": f"{2000 + sequence / 100:.2f}"})


async def delayed(request: web.Request) -> web.Response:
    await asyncio.sleep(int(request.query["ms"]) / 1000)
    return web.json_response({"after": request.query["ms"]})


async def limited(request: web.Request) -> web.Response:
    account = account_of(request)
    account.visits["limited"] += 1
    if account.visits["limited"] % 3:
        return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "0"})
    return web.json_response({"visits": account.visits["limited"]})


async def slow(request: web.Request) -> web.Response:
    """Answer the second time; the first time only tell the WebSockets that somebody waits."""
    account = account_of(request)
    account.visits["slow"] += 1
    await account.tell("orders", {"event": "busy", "visits": account.visits["slow"]})
    if account.visits["slow"] == 1:
        await asyncio.sleep(60)
    return web.json_response({"visits": account.visits["slow"]})


async def poll(request: web.Request) -> web.Response:
    """Answer when there is an event after the one that the client knows."""
    account, after = account_of(request), int(request.query["after"])
    async with account.happened:
        await account.happened.wait_for(lambda: len(account.events) > after)
    return web.json_response({"events": account.events[after:], "next": len(account.events)})


async def events(request: web.Request) -> web.StreamResponse:
    """Stream events to somebody who leaves at some time."""
    account = account_of(request)
    stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await stream.prepare(request)
    await stream.write(b": welcome\n\n")
    account.streams.add(stream)
    try:
        await asyncio.Future()
    finally:
        account.streams.discard(stream)
    return stream


async def history(request: web.Request) -> web.StreamResponse:
    """Give the trades of the day line by line, each as it is found; each is told on the WebSocket too."""
    account = account_of(request)
    stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await stream.prepare(request)
    for number in range(5):
        await stream.write(json.dumps({"trade": number}).encode() + b"\n")
        await asyncio.sleep(TICK * 5)
        await account.tell("orders", {"event": "exported", "trade": number})
        await asyncio.sleep(TICK * 5)
    await stream.write_eof()
    return stream


async def stream_key(request: web.Request) -> web.Response:
    return web.json_response({"path": f"/{request.match_info['account']}/ws"}, status=201)


async def moved(request: web.Request) -> web.Response:
    raise web.HTTPTemporaryRedirect(f"/{request.match_info['account']}/orders")


# WebSocket


async def websocket(request: web.Request) -> web.WebSocketResponse:
    account = account_of(request)
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    account.sockets[ws] = set()
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await said(account, ws, json.loads(message.data), request)
    finally:
        account.sockets.pop(ws, None)
    return ws


async def said(account: Account, ws: web.WebSocketResponse, wanted: dict[str, str], request: web.Request) -> None:
    channels, number = account.sockets.setdefault(ws, set()), wanted.get("id")
    match wanted["op"]:
        case "auth":
            is_known = wanted["token"] == f"tok-{account.name}-5f2c9b7e"
            await ws.send_json({"event": "authenticated" if is_known else "refused"})
            if not is_known:
                await ws.close(code=WSCloseCode.POLICY_VIOLATION, message=b"unknown token")
        case "subscribe":
            is_first = not any("book" in others for others in account.sockets.values())
            channels.add(wanted["channel"])
            await ws.send_json({"event": "subscribed", "channel": wanted["channel"]})
            if wanted["channel"] == "book" and is_first:
                account.soon(account.run_book())
            if wanted["channel"] == "heartbeat":
                account.soon(beat(account, ws))
        case "unsubscribe":
            await asyncio.sleep(TICK * 3)  # updates still come
            channels.discard(wanted["channel"])
            await ws.send_json({"event": "unsubscribed", "channel": wanted["channel"]})
        case "order":
            await ws.send_json({"event": "placed", "order": account.place(wanted), "of": number})
        case "drop":
            assert request.transport is not None
            request.transport.abort()
        case "ping":
            await ws.send_json({"event": "pong", "note": wanted["note"]})


async def beat(account: Account, ws: web.WebSocketResponse) -> None:
    for number in count(1):
        await asyncio.sleep(TICK)
        if ws.closed or "heartbeat" not in account.sockets.get(ws, ()):
            return
        await ws.send_json({"event": "heartbeat", "number": number})


def application() -> web.Application:
    """Return the gateway; a venue is another of the same."""
    app = web.Application()
    app.add_routes(
        [
            web.post("/{account}/login", log_in),
            web.post("/{account}/orders", place),
            web.get("/{account}/orders", orders),
            web.get("/{account}/orders/{number}", order),
            web.delete("/{account}/orders/{number}", cancel),
            web.get("/{account}/book", book),
            web.get("/{account}/delayed", delayed),
            web.get("/{account}/limited", limited),
            web.get("/{account}/slow", slow),
            web.get("/{account}/poll", poll),
            web.get("/{account}/events", events),
            web.get("/{account}/history", history),
            web.post("/{account}/stream-key", stream_key),
            web.post("/{account}/moved", moved),
            web.get("/{account}/ws", websocket),
        ]
    )
    return app


async def main() -> None:
    """Serve the gateway and the venue on free ports of this machine."""
    ports = []
    for _ in range(2):
        runner = web.AppRunner(application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
    gateway, venue = ports
    print(f"export CONNEX_REST_URL=http://127.0.0.1:{gateway}")
    print(f"export CONNEX_WS_URL=ws://127.0.0.1:{gateway}")
    print(f"export VENUE_URL=http://127.0.0.1:{venue}")
    print("export CONNEX_API_KEY=key-of-the-flows-1 CONNEX_API_SECRET=secret-of-the-flows-1", flush=True)
    await asyncio.Future()


if __name__ == "__main__":
    asyncio.run(main())
