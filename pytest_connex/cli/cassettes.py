"""``connex cassettes``: look after recordings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ..cassette.places import UNUSED_OPTION
from ..config import API_KEY, API_SECRET, live_config, read_environment
from ..errors import CassetteError, ConfigError
from .dialect import load_dialect

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Look after recordings.")

Folder = Annotated[Path, typer.Option("--dir", help="The folder of the recordings.")]
_DEFAULT = Path("cassettes")
_OK, _NO_TESTS = 0, 5  # exit codes of pytest


@app.command("ls")
def list_recordings(folder: Folder = _DEFAULT) -> None:
    """List recordings: age in days, messages or interactions, size in bytes, source, test."""
    from ..cassette.library import summarize

    now = datetime.now(UTC)
    damaged = 0
    for path in _recordings(folder):
        try:
            summary = summarize(path)
        except CassetteError as exc:
            typer.echo(f"damaged: {exc}", err=True)
            damaged += 1
            continue
        age = summary.age_in_days(now)
        shown = "   ?" if age is None else f"{age:4.0f}"
        typer.echo(
            f"{shown} d  {summary.count:>8}  {summary.size:>10}  {summary.source or '?':<8}{path}  {summary.test}"
        )
    if damaged:
        raise typer.Exit(1)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="A recording.")]) -> None:
    """Print a recording as a transcript."""
    from ..cassette.library import transcript

    try:
        transcript(file, sys.stdout)
    except CassetteError as exc:
        _fail("show", str(exc))


@app.command()
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings, or folders of them; all where none is named.")
    ] = None,
    folder: Folder = _DEFAULT,
    dialect: Annotated[
        str | None,
        typer.Option(metavar="MODULE:CLASS", help="Whose names of secret members and headers are meant."),
    ] = None,
) -> None:
    """Read recordings whole and search them for secrets; exit with 1 if one is damaged or holds a secret.

    The secrets are those of the environment and of .env, whatever stands in members, headers and cookies that are
    always replaced, and what is learned from there.
    """
    from ..cassette.auditing import audit
    from ..protocol import Dialect
    from ..secrets.learning import redactor_for

    try:
        values = read_environment(Path(".env"))
        config = live_config({name: values[name] for name in (API_KEY, API_SECRET) if name in values})
        redactor = redactor_for(load_dialect(dialect) if dialect else Dialect(), config.placeholders())
    except ConfigError as exc:
        _fail("check", str(exc))
    named = [path for file in files or () for path in (_recordings(file) if file.is_dir() else [file])]
    paths = named if files else _recordings(folder)
    bad = 0
    for path in paths:
        try:
            audit(path, redactor)
        except CassetteError as exc:
            typer.echo(str(exc), err=True)
            bad += 1
    typer.echo(f"{len(paths)} checked, {bad} damaged or with secrets")
    if bad:
        raise typer.Exit(1)


@app.command("mv")
def move(
    old: Annotated[str, typer.Argument(help="A test, as tests/test_a.py::test_x; or a module, or a recording.")],
    new: Annotated[str, typer.Argument(help="What it is called now, in the same way.")],
    folder: Folder = _DEFAULT,
) -> None:
    """Give the recordings of a renamed test, or of a renamed module, their new names."""
    from ..cassette.moving import move_all, plan_moves

    try:
        moves = plan_moves(folder, old, new)
        move_all(moves)
    except CassetteError as exc:
        _fail("mv", str(exc))
    for one in moves:
        typer.echo(f"{one.old} -> {one.new}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prune(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Remove them; without it they are only shown.")] = False,
) -> None:
    """Show recordings that no collected test uses; further arguments go to pytest, which collects the tests."""
    unused, failure = _collect(context.args)
    if failure:
        _fail("prune", f"pytest could not collect every test, so nothing is known to be unused:\n{failure}")
    for path in unused:
        typer.echo(os.path.relpath(path))
    if not unused:
        typer.echo("every recording is used")
    elif not yes:
        typer.echo(f"{len(unused)} recordings are used by no test; remove them with: connex cassettes prune --yes")
    else:
        for path in unused:
            path.unlink()
        typer.echo(f"{len(unused)} recordings removed")


def _collect(arguments: list[str]) -> tuple[list[Path], str]:
    """Have pytest collect the tests; return the recordings that none of them uses, or why that is not known."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "unused.json"
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", f"{UNUSED_OPTION}={report}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (our own command)
        if done.returncode not in (_OK, _NO_TESTS) or not report.exists():
            return [], f"{done.stdout}{done.stderr}"
        return [Path(path) for path in json.loads(report.read_text("utf-8"))], ""


def _recordings(folder: Path) -> list[Path]:
    from ..cassette.library import recordings_in

    if not folder.is_dir():
        _fail("cassettes", f"{folder} is not a folder; name the folder of the recordings with --dir")
    return recordings_in(folder)


def _fail(command: str, message: str) -> None:
    typer.echo(f"connex {command}: {message}", err=True)
    raise typer.Exit(1)
