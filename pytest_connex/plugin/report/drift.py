"""What ``--connex-verify`` found: a table on the terminal, and a file for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


class DriftReport:
    """Collects the changes that tests have noted; on the controller of a distributed run too.

    Args:
        mode: What the run compared: ``live`` or ``sandbox``.
        path: Where to write them as JSON, or None.
    """

    def __init__(self, mode: str, path: Path | None) -> None:
        self._mode = mode
        self._path = path
        self._compared = self._left_out = 0
        self._unwritten = ""
        self._tests: dict[str, tuple[dict[str, Any], list[str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a test has noted."""
        account: dict[str, Any] | None = getattr(report, "connex", None)
        if account is None or report.when != "teardown":
            return
        if account["compared"]:
            self._compared += 1
        else:
            self._left_out += 1
        for change in account["drift"]:
            _, tests = self._tests.setdefault(json.dumps(change, sort_keys=True), (change, []))
            tests.append(report.nodeid)

    @property
    def _changes(self) -> list[dict[str, Any]]:
        """Every change once, breaking ones first, with the tests that met it."""
        found = [{**change, "tests": tests} for change, tests in self._tests.values()]
        return sorted(found, key=lambda change: (not change["breaking"], change["message"], change["path"]))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the file."""
        if self._path is None or hasattr(session.config, "workerinput"):
            return
        report = {
            "mode": self._mode,
            "compared": self._compared,
            "left_out": self._left_out,
            "changes": self._changes,
        }
        try:
            self._path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
        except OSError as exc:
            self._unwritten = f"{self._path} cannot be written: {exc.strerror}"
            session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the table."""
        changes = self._changes
        terminalreporter.section("connex: drift")
        if self._unwritten:
            terminalreporter.line(f"ERROR: {self._unwritten}", red=True)
        left_out = f", {self._left_out} have no recording to compare with" if self._left_out else ""
        breaking = sum(change["breaking"] for change in changes)
        terminalreporter.line(
            f"{self._compared} tests compared{left_out}; {breaking} breaking changes, "
            f"{len(changes) - breaking} additions"
        )
        rows = [
            (
                "BREAKING" if change["breaking"] else "addition",
                change["message"],
                change["path"] or "-",
                change["kind"],
                f"{change['old'] or 'nothing'} -> {change['new'] or 'nothing'}",
                f"{len(change['tests'])} tests",
            )
            for change in changes
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            terminalreporter.line(cells, red=row[0] == "BREAKING", yellow=row[0] != "BREAKING")
