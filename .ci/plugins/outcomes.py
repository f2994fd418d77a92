"""A plugin of pytest that writes what happened in a run to the file ``OUTCOMES_OF_THE_RUN`` names, as JSON.

Read from reports and not from the terminal, whose look other plugins change. Of a run on many workers, the process
that gathers their reports writes it.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

_PATH = os.environ.get("OUTCOMES_OF_THE_RUN")


class Outcomes:
    """Gathers reports and warnings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reports: list[dict[str, str]] = []
        self._warnings: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a phase of a test, with its error."""
        error = report.longreprtext if report.failed else ""
        self._note(report.nodeid, report.when or "", report.outcome, error)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that cannot be collected."""
        if report.failed:
            self._note(report.nodeid, "collect", report.outcome, report.longreprtext)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage, nodeid: str) -> None:
        """Note a warning."""
        shown = f"{warning_message.category.__name__}: {warning_message.message}"
        self._warnings.append(f"{nodeid or warning_message.filename}: {shown}")

    def pytest_sessionfinish(self) -> None:
        """Write what was gathered."""
        self._path.write_text(json.dumps({"reports": self._reports, "warnings": self._warnings}))

    def _note(self, nodeid: str, when: str, outcome: str, error: str) -> None:
        self._reports.append({"nodeid": nodeid, "when": when, "outcome": outcome, "error": error})


def pytest_configure(config: pytest.Config) -> None:
    """Gather, unless this is a worker of a run."""
    if _PATH and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(Path(_PATH)), "outcomes-of-the-run")
