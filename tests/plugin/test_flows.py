"""Flows of REST and WebSocket against a server of their own: a replay shows their clients just what was recorded.

These are some of them; ``.ci/flows/run.py`` tries all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FLOWS = Path(__file__).parents[2] / ".ci" / "flows"
SOME = "order_and_fill or snapshot or two_venues or token or shared or threads"


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of some flows that were recorded and replayed, and what was printed."""
    for package in ("aiohttp", "httpx_ws", "websocket"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("flows")
    command = [sys.executable, str(FLOWS / "run.py"), "--times", "1", "-k", SOME, "--keep", str(folder)]
    return folder, subprocess.run(command, capture_output=True, text=True, check=False)


def test_flows_are_replayed_as_they_were_recorded(tried):
    _, ran = tried
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last = ran.stdout.splitlines()[-1].split()
    assert int(last[0]) >= 8
    assert last[1:] == ["flows,", "1", "replays,", "0", "differences"]


def test_a_replay_that_is_not_what_was_recorded_is_told(tried):
    folder, _ = tried
    seen = folder / "seen.json"
    seen.write_text(seen.read_text().replace("filled", "lost").replace("1.50", "1.51"))
    sys.path.insert(0, str(FLOWS))
    try:
        from run import print_table, replay
    finally:
        sys.path.remove(str(FLOWS))
    assert print_table(folder, [replay(folder, 0, ["test_flows.py", "-k", "order_and_fill"])]) == 1
