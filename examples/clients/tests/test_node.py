"""The client on Node.js: another process, in another language."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TICKER = Path(__file__).parents[1] / "ticker.mjs"


@pytest.fixture
def node() -> list[str]:
    """The command that runs a script which uses ``WebSocket``."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("needs Node.js, and there is none")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, re.findall(r"\d+", said)[:2])
    if (major, minor) < (20, 10):
        pytest.skip(f"needs Node.js 20.10 or newer for WebSocket, and this is {said.strip()}")
    return [path] if major >= 22 else [path, "--experimental-websocket"]


def test_no_change_is_missing_from_what_node_prints(connex_proxy, node):
    ran = subprocess.run(
        [*node, TICKER, "ETH/USDT", "4"],
        env=connex_proxy.env(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    printed = json.loads(ran.stdout)

    assert printed["status"] == "healthy"
    snapshot, *updates = printed["frames"]
    assert [frame["previousSequence"] for frame in updates] == [
        frame["sequence"] for frame in [snapshot, *updates[:-1]]
    ]
