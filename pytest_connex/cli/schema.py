"""``connex schema``: infer and pin what messages look like, and compare pinned schemas."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ..errors import CassetteError, ConfigError, DataFormatError
from .captured import SKIP_HELP, captured

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Pin what messages look like, and see what has changed."
)

_DEFAULT = Path("cassettes/schemas")
_LIBRARIES = ("jsonschema_rs", "genson")


@app.command()
def infer(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings, of WebSocket or HTTP, or folders of them.")
    ],
    out: Annotated[Path, typer.Option(help="The folder that the schemas are pinned in.")] = _DEFAULT,
    skip: Annotated[bool, typer.Option("--skip", help=SKIP_HELP)] = False,
) -> None:
    """Pin one JSON Schema for each class of messages that clients got in these recordings.

    What is pinned for a class is replaced, so name all recordings that it should hold for.
    """
    _require_extra("infer")
    from ..schema.infer import Inference
    from ..schema.pinned import write_schema

    try:
        inference = Inference()
        captured(files, skip, inference.add)
        if not inference.counts:
            raise ConfigError("there is no message in these recordings that a schema could be inferred from")
        width = max(map(len, inference.counts))
        for name, schema in inference.schemas().items():
            path, state = write_schema(out, name, schema)
            typer.echo(f"{name:<{width}}  {inference.counts[name]:>7} messages  {state:<9}  {path}")
    except (CassetteError, ConfigError, DataFormatError) as exc:
        _fail("infer", str(exc))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A pinned schema, or a folder of them.")],
    new: Annotated[Path, typer.Argument(help="Another, to compare it with.")],
) -> None:
    """Say what has changed for those who read the messages; exit with 1 if something is breaking."""
    _require_extra("diff")
    from ..schema.drift import compare_all
    from ..schema.pinned import read_schemas

    try:
        if old.is_dir() != new.is_dir():
            raise ConfigError("name two schemas, or two folders of them")
        changes = compare_all(read_schemas(old), read_schemas(new))
    except ConfigError as exc:
        _fail("diff", str(exc))
    for change in sorted(changes, key=lambda change: not change.breaking):
        typer.echo(f"{'breaking' if change.breaking else 'addition'}  {change}")
    breaking = sum(change.breaking for change in changes)
    typer.echo(f"{breaking} breaking, {len(changes) - breaking} not" if changes else "no change")
    if breaking:
        raise typer.Exit(1)


def _require_extra(command: str) -> None:
    if any(find_spec(name) is None for name in _LIBRARIES):
        _fail(command, "this needs the extra schema: pip install 'pytest-connex[schema]'")


def _fail(command: str, message: str) -> NoReturn:
    typer.echo(f"connex schema {command}: {message}", err=True)
    raise typer.Exit(2)
