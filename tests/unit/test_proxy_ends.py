"""From end to end: what a client sees of its server's silence and end while it is recorded, it sees on replay.

The servers are made by hand, so that they answer nothing by themselves.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websocket
import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Opcode
from websockets.sync.client import connect as connect_sync

from pytest_connex.cassette.events import Late, Received, Refused, Sent
from pytest_connex.cassette.store import RecordedConnection, Recording
from pytest_connex.proxy.frames import BrokenFrame, FrameReader, NotText, client_frame, frame_head
from pytest_connex.proxy.proxy import Proxy

from .loopback import SHORT, handshake, raw
from .upstream import PATIENCE, Stage, connected

BOTH = ("record", "replay")

# The synchronous client of websockets 14 sends no pings by itself, and does not know the argument.
NO_KEEPALIVE: dict[str, Any] = {} if websockets.version.version < "15" else {"ping_interval": None}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


class Line:
    """The server's end of one connection, with the handshake done."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._reader = FrameReader(masked=True)
        self._heard: list[Any] = []

    def say(self, *payloads: bytes, opcode: Opcode = Opcode.TEXT) -> None:
        self.connection.sendall(b"".join(frame_head(opcode, len(payload)) + payload for payload in payloads))

    def hear(self) -> Any:
        """Return the next message, control frame or broken frame of the client; None at its end."""
        while not self._heard:
            if not (data := self.connection.recv(65_536)):
                return None
            self._heard += self._reader.receive(data)
        return self._heard.pop(0)

    def wait_for_the_end(self) -> None:
        with self.connection:
            while self.connection.recv(65_536):
                pass


Talk = Callable[[Line], None]


@contextmanager
def server(talk: Talk) -> Iterator[str]:
    """A server that does what it is told on each connection, and nothing else; yields its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(PATIENCE)
            try:
                talk(Line(_shaken(connection)))
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for thread in threads:
            thread.join(PATIENCE)


def _shaken(connection: socket.socket) -> socket.socket:
    """Answer the handshake."""
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    while not (events := protocol.events_received()):
        protocol.receive_data(connection.recv(65_536))
    protocol.send_response(protocol.accept(events[0]))
    connection.sendall(b"".join(protocol.data_to_send()))
    return connection


def on_both(stage: Stage, talk: Talk, use: Callable[[Proxy], Any]) -> Any:
    """Return what ``use`` returns while it is recorded, which is what it returns on replay, without a server."""
    seen = []
    with server(talk) as url:
        with stage.proxy("record", ws=url) as proxy:
            seen.append(use(proxy))
        assert stage.session.verdict is None
    with stage.proxy("replay") as proxy:
        seen.append(use(proxy))
    assert (stage.session.verdict, stage.session.unplayed()) == (None, None)
    assert seen[0] == seen[1]
    return seen[0]


def recorded(stage: Stage) -> RecordedConnection:
    [connection] = Recording(stage.stem.with_name(f"{stage.stem.name}.ws.jsonl")).connections
    return connection


# --- A server that answers no ping -------------------------------------------------------------------------


def deaf(line: Line) -> None:
    line.say(b"hello")
    line.wait_for_the_end()


def noticed_by_websockets(proxy: Proxy) -> Any:
    async def listen() -> Any:
        async with connect(proxy.ws_url, ping_interval=SHORT, ping_timeout=SHORT, close_timeout=SHORT) as ws:
            said = await ws.recv()
            with pytest.raises(ConnectionClosed) as caught:
                await asyncio.wait_for(ws.recv(), PATIENCE)
            return said, caught.value.rcvd, caught.value.sent.code, caught.value.sent.reason

    return asyncio.run(listen())


def noticed_by_aiohttp(proxy: Proxy) -> Any:
    async def listen() -> Any:
        patience = aiohttp.ClientWSTimeout(ws_close=SHORT)
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(proxy.ws_url, heartbeat=2 * SHORT, timeout=patience) as ws:
                said = await ws.receive_str()
                end = await ws.receive(timeout=PATIENCE)
                return said, end.type.name, ws.close_code

    return asyncio.run(listen())


def noticed_by_websocket_client(proxy: Proxy) -> Any:
    seen: list[Any] = []
    app = websocket.WebSocketApp(
        proxy.ws_url,
        on_message=lambda ws, message: seen.append(message),
        on_error=lambda ws, error: seen.append(str(error)),
    )
    app.run_forever(ping_interval=2 * SHORT, ping_timeout=SHORT, http_no_proxy=["127.0.0.1"])
    return seen


NOTICED_BY_HTTPX_WS = """
import os, sys, httpx_ws
keepalive = {"keepalive_ping_interval_seconds": 0.05, "keepalive_ping_timeout_seconds": 0.05}
with httpx_ws.connect_ws(sys.argv[1], **keepalive) as ws:
    print(ws.receive_text(10))
    try:
        ws.receive_text(10)
    except httpx_ws.WebSocketNetworkError as exc:
        print(type(exc).__name__, flush=True)
        os._exit(0)  # its end waits five seconds for its own threads
"""


def in_a_process(script: str, url: str) -> list[str]:
    """Run a client where no test patches httpx; return the words that it prints."""
    command = [sys.executable, "-c", script, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=6 * PATIENCE, check=True).stdout.split()


def noticed_by_httpx_ws(proxy: Proxy) -> Any:
    return in_a_process(NOTICED_BY_HTTPX_WS, proxy.ws_url)


@pytest.mark.parametrize(
    "notice", [noticed_by_websockets, noticed_by_aiohttp, noticed_by_websocket_client, noticed_by_httpx_ws]
)
def test_a_server_that_answers_no_ping_is_noticed_by_the_keepalive_of_the_client(stage, notice):
    seen = on_both(stage, deaf, notice)
    assert "hello" in seen
    assert recorded(stage).closing.no_pong_since is not None


def test_a_server_that_answers_pings_until_it_dies_is_noticed_when_it_has(stage):
    def dies(line: Line) -> None:
        line.say(line.hear().payload, opcode=Opcode.PONG)
        line.say(b"the last")
        line.wait_for_the_end()

    def use(proxy: Proxy) -> Any:
        with connect_sync(proxy.ws_url, close_timeout=SHORT, **NO_KEEPALIVE) as ws:
            answered = [ws.ping().wait(PATIENCE)]
            ws.recv(PATIENCE)
            answered.append(ws.ping().wait(SHORT))
        return answered

    assert on_both(stage, dies, use) == [True, False]


# --- A server that answers no close ------------------------------------------------------------------------


def leave(proxy: Proxy) -> Any:
    with connect_sync(proxy.ws_url, close_timeout=4 * SHORT, **NO_KEEPALIVE) as ws:
        said = ws.recv(PATIENCE)
        ws.close(4000, "enough")
    return said, ws.close_code


def test_a_close_that_is_not_answered_is_not_answered_on_replay(stage):
    assert on_both(stage, deaf, leave) == ("hello", 1006)
    closing = recorded(stage).closing
    assert (closing.by, closing.code, closing.reason) == ("client", 4000, "enough")
    assert (closing.no_close, closing.hung_up) == (True, False)


def test_a_client_that_leaves_without_an_answer_takes_its_connection_to_the_server_along(stage):
    ended = threading.Event()

    def notices(line: Line) -> None:
        deaf(line)
        ended.set()

    with server(notices) as url, stage.proxy("pass", ws=url) as proxy:
        leave(proxy)
        assert ended.wait(PATIENCE / 2)


def test_a_connection_that_ends_in_place_of_an_answer_to_the_close_ends_on_replay(stage):
    def hangs_up(line: Line) -> None:
        line.say(b"hello")
        line.hear()

    assert on_both(stage, hangs_up, leave) == ("hello", 1006)
    closing = recorded(stage).closing
    assert (closing.by, closing.code, closing.no_close, closing.hung_up) == ("client", 4000, True, True)


def test_a_close_that_is_answered_with_another_code_is_the_clients(stage):
    def answers(line: Line) -> None:
        line.say(b"hello")
        line.hear()
        line.say(struct.pack("!H", 4001), opcode=Opcode.CLOSE)

    with server(answers) as url, stage.proxy("record", ws=url) as proxy:
        assert leave(proxy) == ("hello", 4001)
    closing = recorded(stage).closing
    assert (closing.by, closing.code, closing.no_close) == ("client", 4000, False)


def test_what_the_server_says_before_it_answers_a_close_reaches_the_client_and_is_not_recorded(stage):
    def answers_late(line: Line) -> None:
        line.say(b"hello")
        close = line.hear()
        line.say(b"one more")
        line.say(close.payload, opcode=Opcode.CLOSE)
        line.wait_for_the_end()

    with server(answers_late) as url, stage.proxy("record", ws=url) as proxy, raw(proxy.ws_url) as sock:
        expected = b"\x81\x05hello\x81\x08one more\x88\x02\x03\xe8"
        said = sock.recv(65_536)  # the client closes once it has heard something
        sock.sendall(client_frame(Opcode.CLOSE, b"\x03\xe8"))
        while len(said) < len(expected) and (data := sock.recv(65_536)):
            said += data
    assert said == expected
    assert [event.payload for _, event in recorded(stage).events() if isinstance(event, Received)] == ["hello"]


# --- What the client sends wrong ---------------------------------------------------------------------------

MASK = bytes(4)
WRONG = {
    "invalid opcode": b"\x83\x80" + MASK,
    "not masked": b"\x81\x01a",
    "reserved bits": b"\xf1\x81" + MASK + b"a",
    "long ping": b"\x89\xfe\x00\x7e" + MASK + bytes(126),
    "fragmented ping": b"\x09\x80" + MASK,
    "close of one byte": b"\x88\x81" + MASK + b"a",
    "text within a text": b"\x01\x81" + MASK + b"a" + b"\x81\x81" + MASK + b"b",
    "not UTF-8": b"\x81\x81" + MASK + b"\xff",
}


def send_wrong(wrong: bytes) -> Callable[[Proxy], bytes]:
    def use(proxy: Proxy) -> bytes:
        with raw(proxy.ws_url) as sock:
            sock.sendall(client_frame(Opcode.TEXT, b"right") + wrong)
            answer = b""
            while data := sock.recv(65_536):
                answer += data
        return answer

    return use


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_reaches_the_server_as_it_is_and_is_refused_as_it_was(stage, wrong):
    heard: list[bytes] = []

    def refuses(line: Line) -> None:
        line.hear()
        heard.append(b"")
        expected = len(WRONG[wrong])
        code = 1007 if wrong == "not UTF-8" else 1002
        rest = line._heard or [line.hear()]
        found = rest[0]
        heard[0] = getattr(found, "data", found)[:expected]
        line.say(struct.pack("!H", code) + b"as the server says", opcode=Opcode.CLOSE)

    code = b"\x03\xef" if wrong == "not UTF-8" else b"\x03\xea"
    assert on_both(stage, refuses, send_wrong(WRONG[wrong])) == b"\x88\x14" + code + b"as the server says"
    assert heard == [b"\xff" if wrong == "not UTF-8" else WRONG[wrong]]
    [right, sent] = [event for _, event in recorded(stage).events() if isinstance(event, Sent)]
    assert right.payload == "right"
    assert type(sent.payload) is (NotText if wrong == "not UTF-8" else BrokenFrame)


def test_a_server_that_does_not_mind_is_talked_to_on(stage):
    def lenient(line: Line) -> None:
        for _ in range(2):
            heard = line.hear()
            line.say(heard.encode() if isinstance(heard, str) else heard)
        line.wait_for_the_end()

    def use(proxy: Proxy) -> bytes:
        with raw(proxy.ws_url) as sock:
            sock.sendall(WRONG["not UTF-8"] + client_frame(Opcode.TEXT, b"right"))
            answer = b""
            while len(answer) < 10:
                answer += sock.recv(65_536)
        return answer

    assert on_both(stage, lenient, use) == b"\x81\x01\xff\x81\x05right"


def test_what_the_server_sends_wrong_reaches_the_client_as_it_is(stage):
    def wrong(line: Line) -> None:
        line.say(b"right")
        line.connection.sendall(b"\xf1\x01a and more")
        line.wait_for_the_end()

    def use(proxy: Proxy) -> bytes:
        with raw(proxy.ws_url) as sock:
            answer = b""
            while len(answer) < 19:
                answer += sock.recv(65_536)
        return answer

    assert on_both(stage, wrong, use) == b"\x81\x05right\xf1\x01a and more"


def test_something_else_that_is_wrong_is_a_mismatch(stage):
    def refuses(line: Line) -> None:
        line.hear()
        line.hear()
        line.say(b"\x03\xea", opcode=Opcode.CLOSE)

    with server(refuses) as url, stage.proxy("record", ws=url) as proxy:
        send_wrong(WRONG["invalid opcode"])(proxy)
    with stage.proxy("replay") as proxy:
        answer = send_wrong(WRONG["long ping"])(proxy)
    assert answer[2:4] == struct.pack("!H", 4900)
    assert "another message than the recording expects" in str(stage.session.verdict)


# --- What came before a lost connection --------------------------------------------------------------------

COUNT = 2_000


def many(line: Line) -> None:
    line.hear()
    line.say(*(b"%04d" % number + b"x" * 300 for number in range(COUNT)))
    line.connection.shutdown(socket.SHUT_WR)
    line.wait_for_the_end()


def reset(line: Line) -> None:
    line.hear()
    line.say(*(b"%04d" % number + b"x" * 300 for number in range(COUNT)))
    line.hear()  # the client reads on, and pings
    line.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_by_websockets(url: str) -> int:
    async def listen() -> int:
        count = 0
        async with connect(url, ping_interval=None, close_timeout=SHORT) as ws:
            await ws.send("go")
            try:
                while True:
                    await ws.recv()
                    count += 1
                    if count % 20 == 0:
                        await ws.ping()
                        await asyncio.sleep(0)
            except ConnectionClosed as exc:
                assert exc.rcvd is None
        return count

    return asyncio.run(listen())


def read_by_websockets_sync(url: str) -> int:
    count = 0
    with connect_sync(url, close_timeout=SHORT, **NO_KEEPALIVE) as ws:
        ws.send("go")
        try:
            while True:
                ws.recv(PATIENCE)
                count += 1
                if count % 20 == 0:
                    ws.ping()
        except ConnectionClosed as exc:
            assert exc.rcvd is None
    return count


def read_by_aiohttp(url: str) -> int:
    async def listen() -> int:
        count = 0
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            await ws.send_str("go")
            async for message in ws:
                assert message.type is aiohttp.WSMsgType.TEXT
                count += 1
                if count % 20 == 0:
                    await ws.ping()
            assert ws.close_code == 1006
        return count

    return asyncio.run(listen())


def read_by_websocket_client(url: str) -> int:
    count = 0
    ws = websocket.create_connection(url, timeout=PATIENCE, http_no_proxy=["127.0.0.1"])
    ws.send("go")
    try:
        while True:
            ws.recv()
            count += 1
            if count % 20 == 0:
                ws.ping()
    except websocket.WebSocketConnectionClosedException:
        return count
    finally:
        ws.shutdown()


READ_BY_HTTPX_WS = """
import sys, httpx_ws
count = 0
with httpx_ws.connect_ws(sys.argv[1], keepalive_ping_interval_seconds=None) as ws:
    ws.send_text("go")
    try:
        while True:
            ws.receive_text(10)
            count += 1
    except httpx_ws.WebSocketNetworkError:
        print(count)
"""


def read_by_httpx_ws(url: str) -> int:
    return int(in_a_process(READ_BY_HTTPX_WS, url)[0])


SCRIPT = """
const ws = new WebSocket(process.argv[1]);
let count = 0;
ws.onopen = () => ws.send("go");
ws.onmessage = () => { count += 1; };
ws.onclose = (event) => console.log(JSON.stringify([count, event.code]));
ws.onerror = () => {};
"""


def read_by_node(url: str) -> int:
    command = [NODE, "--experimental-websocket", "--no-warnings", "--input-type=module", "-e", SCRIPT, url]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=6 * PATIENCE, check=True)
    count, code = json.loads(ran.stdout)
    assert code == 1006
    return count


NODE = shutil.which("node") or ""
READERS = [
    read_by_websockets,
    read_by_websockets_sync,
    read_by_aiohttp,
    read_by_websocket_client,
    read_by_httpx_ws,
    pytest.param(read_by_node, marks=pytest.mark.skipif(not NODE, reason="Node is not installed")),
]


@pytest.mark.parametrize("read", READERS)
def test_everything_that_came_before_a_lost_connection_comes_before_it(stage, read):
    assert on_both(stage, many, lambda proxy: read(proxy.ws_url)) == COUNT
    closing = recorded(stage).closing
    assert (closing.by, closing.code, closing.reset) == ("network", 1006, False)


def test_a_client_that_sends_while_it_reads_gets_everything_before_a_reset(stage):
    with server(reset) as url:
        with stage.proxy("record", ws=url) as proxy:
            live = read_by_websockets_sync(proxy.ws_url)
    with stage.proxy("replay") as proxy:
        assert read_by_websockets_sync(proxy.ws_url) == live == recorded(stage).received_count > 0
    assert recorded(stage).closing.reset


def test_a_client_that_stays_when_the_connection_is_lost_is_not_reset(stage):
    with server(many) as url, stage.proxy("record", ws=url) as proxy:
        with raw(proxy.ws_url) as sock:
            sock.sendall(client_frame(Opcode.TEXT, b"go"))
            size = 0
            while data := sock.recv(65_536):
                size += len(data)
                sock.sendall(client_frame(Opcode.TEXT, b"still here"))
    assert size == COUNT * 308


# --- Dials -------------------------------------------------------------------------------------------------


def test_a_dial_that_is_refused_is_reset_while_recording_and_on_replay(stage):
    def use(proxy: Proxy) -> str:
        with connected(proxy, proxy.ws_url) as sock:
            sock.sendall(handshake("/"))
            with pytest.raises(ConnectionResetError):
                sock.recv(65_536)
        with pytest.raises((OSError, EOFError, websocket.WebSocketException)) as caught:
            websocket.create_connection(proxy.ws_url, timeout=PATIENCE, http_no_proxy=["127.0.0.1"])
        return type(caught.value).__name__

    with server(deaf) as url:
        pass
    with stage.proxy("record", ws=url) as proxy:
        live = use(proxy)
    with stage.proxy("replay") as proxy:
        assert use(proxy) == live == "ConnectionResetError"
    first, second = Recording(stage.stem.with_name(f"{stage.stem.name}.ws.jsonl")).connections
    assert (type(first.answer), first.answer.error) == (Refused, "ConnectionRefusedError")
    assert type(second.answer) is Refused


def test_a_dial_that_the_client_gave_up_is_given_up_on_replay(stage):
    def use(proxy: Proxy) -> str:
        with pytest.raises(TimeoutError) as caught:
            connect_sync(proxy.ws_url, open_timeout=SHORT)
        return str(caught.value)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        with stage.proxy("record", ws=f"ws://127.0.0.1:{silent.getsockname()[1]}/") as proxy:
            live = use(proxy)
    with stage.proxy("replay") as proxy:
        assert use(proxy) == live
    assert (stage.session.verdict, stage.session.unplayed()) == (None, None)


# --- Who does not read -------------------------------------------------------------------------------------

MEGABYTE = bytes(1 << 20)
ENOUGH = 64
"""Megabytes that no buffers of sockets hold."""


def test_a_server_that_does_not_read_holds_the_client_back(stage):
    over = threading.Event()

    with server(lambda line: over.wait(PATIENCE) and None) as url, stage.proxy("pass", ws=url) as proxy:
        with raw(proxy.ws_url) as sock:
            sock.settimeout(4 * SHORT)
            frame, sent = client_frame(Opcode.BINARY, MEGABYTE), 0
            with suppress(TimeoutError):
                while sent < ENOUGH:
                    sock.sendall(frame)
                    sent += 1
        over.set()
    assert sent < ENOUGH


def test_a_client_that_does_not_read_holds_the_server_back(stage):
    sent: list[int] = []

    def floods(line: Line) -> None:
        line.connection.settimeout(4 * SHORT)
        try:
            while len(sent) < ENOUGH:
                line.say(MEGABYTE, opcode=Opcode.BINARY)
                sent.append(1)
        finally:
            over.set()

    over = threading.Event()
    with server(floods) as url, stage.proxy("pass", ws=url) as proxy, raw(proxy.ws_url):
        assert over.wait(PATIENCE)
    assert len(sent) < ENOUGH


# --- What crosses a close ----------------------------------------------------------------------------------


def test_a_message_that_crosses_the_close_of_the_server_reaches_it_and_is_recorded_as_late(stage):
    heard: list[Any] = []

    def closes(line: Line) -> None:
        line.say(b"\x03\xe8", opcode=Opcode.CLOSE)
        heard.extend((line.hear(), line.hear()))

    with server(closes) as url, stage.proxy("record", ws=url) as proxy, raw(proxy.ws_url) as sock:
        assert sock.recv(4) == b"\x88\x02\x03\xe8"
        sock.sendall(client_frame(Opcode.TEXT, b"crossing") + client_frame(Opcode.CLOSE, b"\x03\xe8"))
        assert sock.recv(1) == b""
    assert [heard[0], heard[1].payload] == ["crossing", b"\x03\xe8"]
    assert [type(event) for event in recorded(stage).late] == [Late]
