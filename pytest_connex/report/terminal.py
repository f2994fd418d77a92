"""The terminal section ``connex``: tests by mode, and recordings read, written and missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest


class TerminalSection:
    """Collects what the reports of tests say about recordings; on the controller of a distributed run too."""

    def __init__(self, rootpath: Path) -> None:
        self._rootpath = rootpath
        self._modes: Counter[str] = Counter()
        self._files: dict[str, set[str]] = {"read": set(), "written": set(), "missing": set()}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the account that the plugin attached to a teardown report."""
        account: dict[str, Any] | None = getattr(report, "connex", None)
        if account is None or report.when != "teardown":
            return
        self._modes[account["mode"]] += 1
        for kind, files in self._files.items():
            files.update(account[kind])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the section, if any test used Connex."""
        if not self._modes:
            return
        terminalreporter.section("connex")
        tests = ", ".join(f"{count} {mode}" for mode, count in sorted(self._modes.items()))
        terminalreporter.line(f"tests: {tests}")
        counts = ", ".join(f"{len(files)} {kind}" for kind, files in self._files.items())
        terminalreporter.line(f"recordings: {counts}")
        for kind in ("written", "missing"):
            for path in self._relative(self._files[kind]):
                terminalreporter.line(f"  {kind}: {path}")

    def _relative(self, paths: Iterable[str]) -> list[str]:
        root = f"{self._rootpath}/"
        return sorted(path.removeprefix(root) for path in paths)
