"""Finding recordings that no test uses any more.

A recording is judged only by a run that has collected its whole module, or that finds the module gone; a run of
one test says nothing about the others.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..cassette.places import UNUSED_OPTION
from .options import RunOptions
from .planning import recording_stem, usual_stem
from .run import RUN, UNUSED, UNUSED_KEY, uses_connex


def find(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Compare the recordings with the tests, before any of those is deselected."""
    unused = config.stash[UNUSED] = _unused(config, items)
    output: dict[str, object] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[UNUSED_KEY] = [str(path) for path in unused]
    if report := config.getoption(UNUSED_OPTION):
        Path(report).write_text(json.dumps([str(path) for path in unused]), "utf-8")


def _unused(config: pytest.Config, items: list[pytest.Item]) -> list[Path]:
    options: RunOptions = config.stash[RUN].options
    if not options.cassette_dir.is_dir():
        return []
    from ..cassette.library import recordings_in
    from ..cassette.places import files_at, fixture_of

    used: set[Path] = set()
    shared: set[str] = set()
    modules: dict[Path, Path] = {}
    for item in items:
        modules[usual_stem(item, options).parent] = item.path
        shared.update(getattr(item, "fixturenames", ()))
        if uses_connex(item):
            used.update(files_at(recording_stem(item, options)))
    partly = {Path(argument.partition("::")[0]).name for argument in config.args if "::" in argument}
    whole = {folder for folder, module in modules.items() if module.name not in partly}
    return [
        path
        for path in recordings_in(options.cassette_dir)
        if path not in used
        and fixture_of(path) not in shared
        and (path.parent in whole or _is_orphaned(path, config.rootpath, options))
    ]


def _is_orphaned(path: Path, rootpath: Path, options: RunOptions) -> bool:
    """Tell whether the module of a recording is gone.

    That is not known of a folder outside of the rootdir, which other projects may share.
    """
    if not options.cassette_dir.resolve().is_relative_to(rootpath.resolve()):
        return False
    module = rootpath / path.parent.relative_to(options.cassette_dir)
    return not module.with_name(f"{module.name}.py").exists() and not module.is_dir()
