"""One combination in a copy of the project, recorded from the sandbox and then replayed without a network.

Each run leaves its output and its reports in that copy, for whoever wants to know more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from combinations import INI, Combination
from judging import Ran, of_recording, of_replay, ran

HERE = Path(__file__).resolve().parent
LIMIT = 300
"""Seconds after which a run is given up."""


@dataclass(frozen=True)
class Result:
    """What came of a combination: the outcomes of both runs, and in words what fell short."""

    recorded: str
    replayed: str
    shortcomings: tuple[str, ...]


def tried(combination: Combination, python: Path, folder: Path) -> Result:
    """Record, replay, and say what fell short.

    Args:
        combination: What is tried.
        python: The interpreter of its environment.
        folder: Where the copy of the project is made; what was there is deleted.
    """
    brought = HERE / "extra" / (combination.extra or combination.name)
    _lay_out(combination, folder, brought)
    recorded = _run(combination, python, folder, "record", "--connex-sandbox", "--connex-record=rewrite")
    before = _recordings(folder, brought)
    replayed = _run(combination, python, folder, "replay")
    shortcomings = [f"recording: {short}" for short in of_recording(combination, recorded, len(before))]
    shortcomings += [f"replay: {short}" for short in of_replay(combination, replayed)]
    if _recordings(folder, brought) != before:
        shortcomings.append("replay: it changed recordings")
    return Result(recorded.counts(), replayed.counts(), tuple(shortcomings))


def without_network() -> list[str]:
    """Return what a command is started with to have no network but loopback; nothing where that cannot be."""
    isolated = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if shutil.which("unshare") and subprocess.run([*isolated, "true"], capture_output=True).returncode == 0:
        return isolated
    return []


def clean_environment() -> dict[str, str]:
    """Return the environment without what would change a run of pytest or of pytest-connex."""
    ours = ("CONNEX_", "PYTEST", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _lay_out(combination: Combination, folder: Path, brought: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "project", folder)
    if brought.exists():
        shutil.copytree(brought, folder, dirs_exist_ok=True)
    shutil.copy(HERE / "outcomes.py", folder)
    lines = [f"{name} = {value}" for name, value in {**INI, **combination.ini}.items()]
    (folder / "pytest.ini").write_text("\n".join(["[pytest]", *lines, ""]))


def _run(combination: Combination, python: Path, folder: Path, phase: str, *options: str) -> Ran:
    log, report = folder / f"{phase}.log", folder / f"{phase}.json"
    environment = clean_environment()
    environment |= {
        "PYTHONPATH": str(folder),
        "OUTCOMES_OF_THE_RUN": str(report),
        "RUN_OF_THE_MATRIX": phase,
        "PATH": f"{python.parent}{os.pathsep}{environment['PATH']}",
    }
    command = [*without_network()] if phase == "replay" else []
    command += [str(python), *combination.python, "-m", "pytest", "-p", "outcomes", "-ra"]
    command += [*combination.options, *options]
    code = None
    with log.open("wb") as output, contextlib.suppress(subprocess.TimeoutExpired):
        code = subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=LIMIT
        ).returncode
    gathered = json.loads(report.read_text()) if report.exists() else None
    return ran(code, log.read_text("utf-8", errors="replace"), gathered)


def _recordings(folder: Path, brought: Path) -> dict[str, str]:
    """Return a digest of each recording below a folder that was not brought along."""
    files = [*folder.rglob("cassettes/**/*.jsonl"), *folder.rglob("cassettes/**/*.yaml")]
    names = {str(file.relative_to(folder)): file for file in files}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in names.items()
        if not (brought / name).exists()
    }
