"""The terminal section ``connex``: tests by mode, and recordings read, written and missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

_ALWAYS = ("read", "written", "missing")
_WHEN_ANY = ("removed", "stale")
_KEPT = (
    "what is kept is not replaced from the sandbox unasked: record it with --connex-live --connex-record=rewrite, or "
    "from the sandbox on purpose with --connex-sandbox --connex-record=replace-live"
)


class TerminalSection:
    """Collects what the reports of tests say about recordings; on the controller of a distributed run too.

    Args:
        rootpath: Paths are shown from here.
        refusal_key: Under which a worker tells why the run cannot start.
        unused_key: Under which a worker tells which recordings no test uses.
        unused: Returns those that this process knows of.
    """

    def __init__(
        self,
        rootpath: Path,
        refusal_key: str,
        unused_key: str = "",
        unused: Callable[[], Iterable[Path]] = lambda: (),
    ) -> None:
        self._rootpath = rootpath
        self._refusal_key = refusal_key
        self._unused_key = unused_key
        self._unused_elsewhere: list[str] = []
        self._modes: Counter[str] = Counter()
        self._files: dict[str, set[str]] = {kind: set() for kind in (*_ALWAYS, *_WHEN_ANY)}
        self._kept: dict[str, str] = {}
        self._unused = unused
        self._refusal = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the account that the plugin attached to a teardown report."""
        account: dict[str, Any] | None = getattr(report, "connex", None)
        if account is None or report.when != "teardown":
            return
        self._modes[account["mode"]] += 1
        for kind, files in self._files.items():
            files.update(account.get(kind, ()))
        self._kept.update(account.get("kept", {}))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take from a worker of a distributed run why the run cannot start, and what no test uses."""
        output: dict[str, Any] = getattr(node, "workeroutput", {})
        self._refusal = output.get(self._refusal_key, self._refusal)
        self._unused_elsewhere = output.get(self._unused_key, self._unused_elsewhere)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End a run that a worker refused as the usage error it is."""
        if self._refusal:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the section, if any test used Connex."""
        if self._refusal:
            terminalreporter.line(f"ERROR: {self._refusal}", red=True)
        if not self._modes:
            return
        terminalreporter.section("connex")
        tests = ", ".join(f"{count} {mode}" for mode, count in sorted(self._modes.items()))
        terminalreporter.line(f"tests: {tests}")
        counts = ", ".join(f"{len(files)} {kind}" for kind, files in self._files.items() if files or kind in _ALWAYS)
        terminalreporter.line(f"recordings: {counts}")
        for kind in ("written", "missing", *_WHEN_ANY):
            for path in self._relative(self._files[kind]):
                terminalreporter.line(f"  {kind}: {path}")
        for source in sorted(set(self._kept.values())):
            for path in self._relative(path for path, its in self._kept.items() if its == source):
                terminalreporter.line(f"  kept, recorded from {source}: {path}")
        if self._kept:
            terminalreporter.line(_KEPT)
        unused = self._relative([*map(str, self._unused()), *self._unused_elsewhere])
        if unused:
            terminalreporter.line(f"{len(unused)} recordings are used by no test: connex cassettes prune")
        for path in unused:
            terminalreporter.line(f"  unused: {path}")

    def _relative(self, paths: Iterable[str]) -> list[str]:
        root = f"{self._rootpath}/"
        return sorted(path.removeprefix(root) for path in paths)
