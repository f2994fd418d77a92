"""The research notebook, unmodified, against the sandbox: in a process of its own, as its reader would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_connex.config import API_KEY, API_SECRET, REST_URL, WS_URL

NOTEBOOK = Path(__file__).parents[2].parent / "shared" / "seed" / "connex_exploration_notebook.txt"
ADDED = """
async def added_cell():
    return await test_websocket_connection(sample_messages=3)

test_result = asyncio.run(added_cell())
print("RESULT", json.dumps([health_result, test_result], default=str))
"""

pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the research notebook is not beside this repository")


def cells() -> str:
    """The code of the notebook: what follows each ``In [None]:`` up to the next heading."""
    code: list[str] = []
    inside = False
    for line in NOTEBOOK.read_text("utf-8").splitlines():
        if line.startswith("In [None]:"):
            inside = True
        elif line.startswith("## "):
            inside = False
        elif inside:
            code.append(line)
    return "\n".join(code)


def run(environment: dict[str, str], tmp_path: Path) -> list[dict]:
    script = tmp_path / "notebook.py"
    script.write_text(cells() + ADDED, "utf-8")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNEX_")}
    ran = subprocess.run(
        [sys.executable, str(script)],
        env={**inherited, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    [result] = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(result.removeprefix("RESULT "))


@pytest.mark.connex_sandbox
def test_the_cells_run_and_collect_three_messages(connex_sandbox, tmp_path):
    health, test = run(
        {
            REST_URL: connex_sandbox.rest_url,
            WS_URL: connex_sandbox.ws_url,
            API_KEY: connex_sandbox.api_key,
            API_SECRET: connex_sandbox.api_secret,
        },
        tmp_path,
    )

    assert (health["status_code"], health["payload"]["status"]) == (200, "healthy")
    assert (test["status"], test["attempts"], len(test["orderbook_messages"])) == ("success", 1, 3)
    assert test["control_frames"][0]["parsed"]["event"] == "authenticated"


@pytest.mark.connex_sandbox
def test_the_websocket_cell_needs_no_credentials(connex_sandbox, tmp_path, monkeypatch):
    script = cells().replace("health_result = test_connex_health()", "health_result = {}")
    assert script != cells()
    monkeypatch.setattr(sys.modules[__name__], "cells", lambda: script)
    _, test = run({WS_URL: connex_sandbox.ws_url}, tmp_path)

    assert (test["status"], test["attempts"], len(test["orderbook_messages"])) == ("success", 1, 3)
    assert [frame["parsed"]["event"] for frame in test["control_frames"]] == ["subscribed"]
