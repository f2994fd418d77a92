"""One test file, five clients, one conversation: each sees the same frames, whoever recorded them.

The clients, within the process of the test but for the last:

- ``requests`` for REST, and the asyncio client of ``websockets``;
- ``aiohttp`` for both;
- ``httpx`` for REST, and the blocking client of ``websockets``;
- ``urllib`` for REST, and ``websocket-client``;
- Node.js for both, in a process of its own.

A sandbox's frames carry the time, so what is the same is this: what a client sees of a recording is what the
recording holds, to the byte. The conversation ends with a message whose answer is the last that a client reads, so
there is nothing in a recording that it could leave unread.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from pytest_connex.cassette.library import recordings_in, summarize
from pytest_connex.config import VARIABLES

EXAMPLE = Path(__file__).parents[2] / "examples" / "clients"
CLIENTS = ("websockets", "aiohttp", "httpx", "websocket_client", "node")

CONVERSATION = '''
import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import time
import urllib.request
from contextlib import closing

import aiohttp
import httpx
import pytest
import requests
import websocket
import websockets
import websockets.sync.client

def rest():
    url = os.environ["CONNEX_REST_URL"] + "/v1/orderbook/binance/ETHUSDT?depth=3"
    headers = {
        "X-CONNEX-API-KEY": os.environ["CONNEX_API_KEY"],
        "X-CONNEX-API-SECRET": os.environ["CONNEX_API_SECRET"],
    }
    return url, headers


def talk(seen):
    """Yield a message to send, or None when the next that comes is to be added to ``seen``."""
    key, secret = os.environ["CONNEX_API_KEY"], os.environ["CONNEX_API_SECRET"]
    nonce = str(time.time_ns() // 1_000_000)
    signature = hmac.new(secret.encode(), (nonce + key).encode(), hashlib.sha256).hexdigest()
    market = {"channel": "orderbook", "symbol": "ETH/USDT", "depth": 3}

    def until(done):
        yield None
        while not done():
            yield None

    yield json.dumps({"action": "authenticate", "data": {"apiKey": key, "nonce": nonce, "signature": signature}})
    yield from until(lambda: '"authenticated"' in seen[-1])
    yield json.dumps({"action": "subscribe", **market})
    yield from until(lambda: sum('"update"' in text for text in seen) == 3)
    yield json.dumps({"action": "unsubscribe", **market})
    yield from until(lambda: '"unsubscribed"' in seen[-1])


def converse(send, receive):
    seen = []
    for message in talk(seen):
        if message is None:
            seen.append(receive())
        else:
            send(message)
    return seen


async def converse_async(send, receive):
    seen = []
    for message in talk(seen):
        if message is None:
            seen.append(await receive())
        else:
            await send(message)
    return seen


def by_websockets(proxy):
    url, headers = rest()
    book = requests.get(url, headers=headers, timeout=10).text

    async def main():
        async with websockets.connect(os.environ["CONNEX_WS_URL"]) as ws:
            return await converse_async(ws.send, ws.recv)

    return book, asyncio.run(main())


def by_aiohttp(proxy):
    async def main():
        url, headers = rest()
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers=headers) as response:
                book = await response.text()
            async with session.ws_connect(os.environ["CONNEX_WS_URL"]) as ws:
                return book, await converse_async(ws.send_str, ws.receive_str)

    return asyncio.run(main())


def by_httpx(proxy):
    url, headers = rest()
    book = httpx.get(url, headers=headers).text
    with websockets.sync.client.connect(os.environ["CONNEX_WS_URL"]) as ws:
        return book, converse(ws.send, ws.recv)


def by_websocket_client(proxy):
    url, headers = rest()
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        book = response.read().decode()
    with closing(websocket.create_connection(os.environ["CONNEX_WS_URL"], timeout=10)) as ws:
        return book, converse(ws.send, ws.recv)


def by_node(proxy):
    ran = subprocess.run(
        [*NODE, "conversation.mjs"], env=proxy.env(), capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_it(connex_proxy, name):
    book, frames = globals()["by_" + name.split("-")[-1]](connex_proxy)
    with open("seen/" + name + ".json", "w", encoding="utf-8") as file:
        json.dump({"book": book, "frames": frames}, file)
'''

NODE_CONVERSATION = """
import { createHmac } from "node:crypto";

const { CONNEX_REST_URL, CONNEX_WS_URL, CONNEX_API_KEY: key, CONNEX_API_SECRET: secret } = process.env;
const market = { channel: "orderbook", symbol: "ETH/USDT", depth: 3 };

const response = await fetch(`${CONNEX_REST_URL}/v1/orderbook/binance/ETHUSDT?depth=3`, {
  headers: { "X-CONNEX-API-KEY": key, "X-CONNEX-API-SECRET": secret },
});
const book = await response.text();

const frames = [];
const socket = new WebSocket(CONNEX_WS_URL);
const say = (message) => socket.send(JSON.stringify(message));
socket.onerror = () => process.exit(1);
socket.onopen = () => {
  const nonce = String(Date.now());
  const signature = createHmac("sha256", secret).update(nonce + key).digest("hex");
  say({ action: "authenticate", data: { apiKey: key, nonce, signature } });
};
socket.onmessage = ({ data }) => {
  frames.push(data);
  const frame = JSON.parse(data);
  if (frame.event === "authenticated") say({ action: "subscribe", ...market });
  const updates = frames.filter((text) => text.includes('"update"')).length;
  if (frame.type === "update" && updates === 3) say({ action: "unsubscribe", ...market });
  if (frame.event === "unsubscribed") socket.close();
};
socket.onclose = () => console.log(JSON.stringify([book, frames]));
"""

INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def node_command() -> list[str]:
    """Return the command that runs a script which uses ``WebSocket``; nothing where there is none."""
    path = shutil.which("node")
    if path is None:
        return []
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    numbers = [int(number) for number in re.findall(r"\d+", said)[:2]]
    if numbers < [20, 10]:
        return []
    return [path] if numbers >= [22] else [path, "--experimental-websocket"]


NODE = node_command()
needs_node = pytest.mark.skipif(not NODE, reason="there is no Node.js, or one older than 20.10, without WebSocket")
PARAMETERS = [pytest.param(name, marks=needs_node if name == "node" else ()) for name in CLIENTS]


class Stage:
    """A project of somebody else's in which each client has recorded the conversation and played all recordings.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._problems: dict[str, list[str]] = {}
        self.names = [name for name in CLIENTS if name != "node" or NODE]
        (path / "seen").mkdir()
        (path / "pytest.ini").write_text(INI, "utf-8")
        (path / "conversation.mjs").write_text(NODE_CONVERSATION, "utf-8")

    def record(self) -> None:
        """Let each client record."""
        self._write_test(self.names)
        ran = pytest_in(self.path, "--connex-sandbox", "--connex-sandbox-interval=0.01", "--connex-record=rewrite")
        assert ran.returncode == 0, ran.stdout

    def replay(self) -> None:
        """Let each client play what each has recorded."""
        pairs = [(recorder, player) for recorder in self.names for player in self.names]
        for recorder, player in pairs:
            for suffix in (".ws.jsonl", ".yaml"):
                shutil.copy(self._recording(recorder, suffix), self._recording(f"{recorder}-{player}", suffix))
        self._write_test([f"{recorder}-{player}" for recorder, player in pairs])
        ran = pytest_in(self.path, "--junitxml=report.xml")
        for case in ElementTree.parse(self.path / "report.xml").iter("testcase"):
            found = [child.get("message", "") for child in case if child.tag in ("failure", "error")]
            self._problems.setdefault(case.get("name", ""), []).extend(found)
        assert len(self._problems) == len(pairs), ran.stdout

    def problems(self, name: str) -> list[str]:
        """Return what the test that plays a recording failed for."""
        return self._problems[f"test_it[{name}]"]

    def seen(self, name: str) -> dict[str, Any]:
        """Return what a client saw: the text of the order book, and those of the frames."""
        return json.loads((self.path / "seen" / f"{name}.json").read_text("utf-8"))

    def held(self, name: str) -> dict[str, Any]:
        """Return what a recording holds, as :meth:`seen` would have it."""
        frames = [event["text"] for event in self.events(name) if event["event"] == "received"]
        [interaction] = self.http(name)["interactions"]
        return {"book": interaction["response"]["body"]["string"], "frames": frames}

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines between the first and the last of a WebSocket recording."""
        lines = self._recording(name, ".ws.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines[1:-1]]

    def http(self, name: str) -> dict[str, Any]:
        """Return an HTTP recording."""
        return yaml.safe_load(self._recording(name, ".yaml").read_text("utf-8"))

    def _recording(self, name: str, suffix: str) -> Path:
        return self.path / "cassettes" / "test_it" / f"test_it[{name}]{suffix}"

    def _write_test(self, names: list[str]) -> None:
        source = f"NODE = {NODE!r}\nNAMES = {names!r}\n{CONVERSATION}"
        (self.path / "test_it.py").write_text(source, "utf-8")


def pytest_in(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process of its own, in ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--tb=short", *args],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in VARIABLES},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    stage = Stage(tmp_path_factory.mktemp("clients"))
    stage.record()
    stage.replay()
    return stage


@pytest.mark.parametrize("client", PARAMETERS)
def test_a_recording_holds_what_its_client_saw(stage, client):
    assert stage.seen(client) == stage.held(client)


@pytest.mark.parametrize("client", PARAMETERS)
def test_the_conversation_is_the_one_that_it_is_said_to_be(stage, client):
    frames = [json.loads(text) for text in stage.held(client)["frames"]]
    kinds = [frame.get("event", frame.get("type")) for frame in frames]
    assert kinds[:6] == ["authenticated", "subscribed", "snapshot", "update", "update", "update"]
    assert kinds[-1] == "unsubscribed"


@pytest.mark.parametrize("client", PARAMETERS)
def test_what_a_client_sends_is_recorded_the_same_for_all(stage, client):
    def said(name: str) -> list[Any]:
        messages = [json.loads(event["text"]) for event in stage.events(name) if event["event"] == "sent"]
        assert messages[0]["data"].pop("nonce").isdigit()
        requests = [interaction["request"] for interaction in stage.http(name)["interactions"]]
        return [*messages, *[(request["method"], request["uri"], request["body"]) for request in requests]]

    market = {"channel": "orderbook", "symbol": "ETH/USDT", "depth": 3}
    identity = {"apiKey": "connex-recorded-key", "signature": "connex-recorded-signature"}
    assert said(client) == [
        {"action": "authenticate", "data": identity},
        {"action": "subscribe", **market},
        {"action": "unsubscribe", **market},
        ("GET", "https://rest.connex.invalid/v1/orderbook/binance/ETHUSDT?depth=3", None),
    ]


@pytest.mark.parametrize("player", PARAMETERS)
@pytest.mark.parametrize("recorder", PARAMETERS)
def test_a_client_sees_what_a_recording_holds_whoever_made_it(stage, recorder, player):
    assert stage.problems(f"{recorder}-{player}") == []
    assert stage.seen(f"{recorder}-{player}") == stage.held(recorder)


@pytest.mark.parametrize("mode", [(), ("--connex-sandbox",)], ids=["recorded", "sandbox"])
def test_the_example_project_passes(tmp_path, mode):
    folder = tmp_path / "clients"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    ran = pytest_in(folder, *mode)
    assert (ran.returncode, f"{4 if NODE else 3} passed" in ran.stdout) == (0, True), ran.stdout


def test_the_recordings_of_the_example_project_say_that_they_come_from_the_sandbox():
    sources = [summarize(path).source for path in recordings_in(EXAMPLE / "cassettes")]
    assert sources == ["sandbox"] * 5
