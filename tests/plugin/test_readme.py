"""The code of the README runs as it stands there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pytest_connex import Dialect
from pytest_connex.sandbox.exchange import SYMBOLS

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)

PRELUDE = """
import json
import os
import subprocess
import pytest
import requests
from decimal import Decimal
from pytest_connex import Dialect, capture_orderbook
from pytest_connex.client.rest import ConnexRest
from websockets.asyncio.client import connect


class MyClient:
    def __init__(self, url, key, secret):
        self.url = url

    async def best_bid(self, symbol):
        async with connect(self.url) as ws:
            await ws.send(json.dumps({"action": "subscribe", "channel": "orderbook", "symbol": symbol, "depth": 1}))
            await ws.recv()
            return Decimal(json.loads(await ws.recv())["bids"][0][0])


class MyRestClient:
    def __init__(self, url, key, secret):
        self.url, self.headers = url, {"X-CONNEX-API-KEY": key, "X-CONNEX-API-SECRET": secret}

    def is_healthy(self):
        return requests.get(self.url + "/v1/status", headers=self.headers).json()["status"] == "healthy"
"""

PROGRAM = """
const answer = await fetch(`${process.env.CONNEX_REST_URL}/v1/symbols`);
process.exit(answer.status === 401 ? 0 : 1);  // it shows no key
"""

USES = {
    "MyDialect": """
def test_the_dialect_of_the_project(connex_dialect):
    assert connex_dialect.status_path == "/v2/status"
    assert connex_dialect.secret_fields[-1] == "otp"
""",
    "connex_upstreams": """
def test_the_server_besides(connex_proxy):
    assert os.environ["CONNEX_UPSTREAM_VENUE"] == connex_proxy.url("venue")
""",
}
"""What uses a block that is a fixture, by a word of that block."""


def test_there_is_code_to_run():
    assert len(BLOCKS) == 7


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(project, number):
    block = BLOCKS[number]
    if "node" in block and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    (project.path / "ticker.mjs").write_text(PROGRAM)
    project.test(PRELUDE + block + "".join(use for word, use in USES.items() if word in block))
    result = project.run("--connex-sandbox")
    assert result.ret == 0, result.stdout.str()
    assert result.parseoutcomes()["passed"] == max(1, block.count("def test_"))


def test_what_the_tables_name_exists(project):
    text = README.read_text("utf-8")
    options = set(re.findall(r"^\| `(--connex-[a-z-]+)", text, re.MULTILINE))
    fixtures = set(re.findall(r"^\| `(connex_[a-z_]+)` \| (?:session|function) \|", text, re.MULTILINE))
    helped = project.run("--help").stdout.str()
    assert options == set(re.findall(r"^  (--connex-[a-z-]+)", helped, re.MULTILINE))
    shown = set(re.findall(r"^(connex_[a-z_]+)", project.run("--fixtures", "-q").stdout.str(), re.MULTILINE))
    assert fixtures == shown


def test_what_a_client_of_the_sandbox_needs_to_know_is_what_the_dialect_says():
    text, dialect = README.read_text("utf-8"), Dialect()
    says = {name.strip(): value for name, value in re.findall(r"^\| ([^|]+) \| (.*) \|$", text, re.MULTILINE)}

    assert f"`GET {dialect.status_path}`, `{dialect.symbols_path}`" in says["REST"]
    assert f"`{dialect.orderbook_path('binance', 'ETH/USDT')}?depth=20`" in says["REST"]
    assert says["its headers"].startswith(f"`{dialect.key_header}` and `{dialect.secret_header}`;")
    assert says["then"] == f"`{dialect.encode(dialect.subscribe('ETH/USDT', 20))}`"
    assert all(f'"{name}": …' in says["WebSocket, first"] for name in dialect.authenticate("k", "s", "1")["data"])
    assert all(f"`{symbol}`" in says["markets"] for symbol in SYMBOLS)
