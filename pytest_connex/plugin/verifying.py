"""What ``--connex-verify`` does around a test: record it aside, and hold that against what is recorded and pinned.

The test runs as it would without; whatever arrives is recorded into a folder of its own, also when the test fails,
because drift may be the reason. Nothing of the project's recordings is touched.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..cassette.session import CassetteSession, Plan
from ..errors import CassetteDrift, CassetteError, ConfigError

if TYPE_CHECKING:
    from ..model import JSON

_PINNED = pytest.StashKey["dict[str, JSON]"]()


def aside(plan: Plan) -> Plan:
    """Return a plan that records beside the recordings of ``plan``, to be compared with them."""
    folder = Path(tempfile.mkdtemp(prefix="connex-verify-"))
    return replace(plan, action="record", stem=folder / "seen", baseline=plan.stem)


def compare(item: pytest.Item, session: CassetteSession, cassette_dir: Path) -> None:
    """Compare what was recorded aside, and note every change in the account of the test.

    Raises:
        CassetteDrift: A change is breaking.
    """
    baseline = session.plan.baseline
    if baseline is None:
        return
    from ..schema.traffic import compare_recordings

    try:
        session.commit()
        old = replace(session.plan, stem=baseline)
        found = compare_recordings(old.files(), session.plan.files(), _pinned(item.config, cassette_dir))
    finally:
        session.account.written.clear()
        session.account.removed.clear()
        clean(session)
    changes = list(dict.fromkeys(found))  # each once
    session.account.compared = True
    session.account.drift += map(vars, changes)
    breaking = [change for change in changes if change.breaking]
    if breaking:
        listing = "".join(f"\n  {change}" for change in breaking)
        raise CassetteDrift(f"Connex has changed since this was recorded:{listing}", baseline)


def clean(session: CassetteSession) -> None:
    """Remove what a test has recorded aside, if it has."""
    if session.plan.baseline is not None:
        shutil.rmtree(session.plan.stem.parent, ignore_errors=True)


def _pinned(config: pytest.Config, cassette_dir: Path) -> dict[str, JSON]:
    """Return the pinned schemas; a run reads them once."""
    if _PINNED not in config.stash:
        from ..schema.pinned import FOLDER, read_schemas

        folder = cassette_dir / FOLDER
        try:
            config.stash[_PINNED] = read_schemas(folder) if folder.is_dir() else {}
        except ConfigError as exc:
            raise CassetteError(str(exc)) from exc
    return config.stash[_PINNED]
