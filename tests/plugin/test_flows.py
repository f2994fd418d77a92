"""Flows of REST and WebSocket against a server of their own: a replay shows their clients just what was recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FLOWS = Path(__file__).parents[2] / ".ci" / "flows"


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FLOWS / "run.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_flow_is_replayed_as_it_was_recorded():
    for package in ("aiohttp", "httpx_ws", "websocket"):
        pytest.importorskip(package)
    ran = run("--times", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last = ran.stdout.splitlines()[-1].split()
    assert int(last[0]) >= 20
    assert last[1:] == ["flows,", "1", "replays,", "0", "differences"]


def test_a_replay_that_is_not_what_was_recorded_is_told(tmp_path):
    assert run("--times", "1", "-k", "order_and_fill", "--keep", str(tmp_path)).returncode == 0
    seen = tmp_path / "seen.json"
    seen.write_text(seen.read_text().replace("filled", "lost").replace("1.50", "1.51"))
    sys.path.insert(0, str(FLOWS))
    try:
        from run import print_table, replay
    finally:
        sys.path.remove(str(FLOWS))
    assert print_table(tmp_path, [replay(tmp_path, 0, ["test_flows.py", "-k", "order_and_fill"])]) == 1
