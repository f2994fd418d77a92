"""An environment of its own for each plugin: the wheel of this project, and what is tried beside it."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class InstallationFailed(Exception):
    """Packages cannot be installed together; the message says why."""


class Environments:
    """Makes environments below a folder, each once.

    Args:
        folder: Where they are, also from a run before.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uv = folder / "uv" / "bin" / "uv"
        self._one_at_a_time = threading.Lock()
        self._ready: set[Path] = set()

    def prepare(self) -> Path:
        """Install the installer, build the wheel of this project, and return its path."""
        if not self._uv.exists():
            _make(sys.executable, "-m", "venv", str(self._folder / "uv"))
            _make(str(self._folder / "uv" / "bin" / "pip"), "install", "-q", "uv")
        wheels = self._folder / "wheel"
        for old in wheels.glob("*.whl"):
            old.unlink()
        _make(str(self._uv), "build", "-q", "--wheel", "--out-dir", str(wheels), str(REPOSITORY))
        (wheel,) = wheels.glob("*.whl")
        return wheel

    def python(self, name: str, packages: Sequence[str], wheel: Path | None) -> Path:
        """Return the interpreter of an environment with these packages, which is made if it is not there.

        Args:
            name: Of its folder.
            packages: What is installed, as pip is told it.
            wheel: Is installed anew, also into an environment of a run before.

        Raises:
            InstallationFailed: They cannot be installed.
        """
        folder = self._folder / "environments" / name
        python = folder / "bin" / "python"
        ours = () if wheel is None else ("--reinstall-package", "pytest-connex", str(wheel))
        with self._one_at_a_time:
            if python in self._ready:  # and perhaps in use
                return python
            if not python.exists():
                _make(str(self._uv), "venv", "-q", "--python", sys.executable, str(folder))
            _make(str(self._uv), "pip", "install", "-q", "--python", str(python), *ours, *packages)
            self._ready.add(python)
        return python

    def installed(self, python: Path) -> list[str]:
        """Return what is installed beside an interpreter, as pip is told to install the same."""
        return _make(str(self._uv), "pip", "freeze", "--python", str(python)).splitlines()


def version(python: Path, package: str) -> str:
    """Return the version of a package that is installed beside an interpreter."""
    name = package.partition("[")[0].partition("=")[0].partition("<")[0]
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    for found in importlib.metadata.distributions(name=name, path=[str(site)]):
        return found.version
    return "?"


def _make(*command: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InstallationFailed(done.stderr.strip() or done.stdout.strip())
    return done.stdout
