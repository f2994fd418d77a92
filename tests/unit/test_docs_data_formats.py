"""The commands of docs/data-formats.md print what is shown there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```console\n(.*?)^```", (ROOT / "docs/data-formats.md").read_text("utf-8"), re.S | re.M)
CONNEX = f"#!{sys.executable}\nfrom pytest_connex.cli import app\napp()\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of the recordings, and the command."""
    shutil.copytree(ROOT / "cassettes", tmp_path / "cassettes")
    command = tmp_path / "bin" / "connex"
    command.parent.mkdir()
    command.write_text(CONNEX)
    command.chmod(0o755)
    return tmp_path


def test_the_commands_print_what_is_shown(place):
    environment = os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    printed = []
    for line in "".join(BLOCKS).splitlines():
        if line.startswith("$ "):
            ran = subprocess.run(
                ["bash", "-c", line[2:]], cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            printed += [line, *ran.stdout.splitlines(), *ran.stderr.splitlines()]
    assert printed == "".join(BLOCKS).splitlines()
    assert len(BLOCKS) == 8
