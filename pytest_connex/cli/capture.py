"""``connex capture``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import WS_URL, live_config, read_environment
from ..errors import CassetteError, ConfigError
from .recording import SUFFIXES, beside, refuse_to_replace, require_credentials, stem_of, stop_asked


def capture(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Record into FILE.ws.jsonl.")],
    symbol: Annotated[str, typer.Option(help="What to subscribe to.")] = "ETH/USDT",
    depth: Annotated[int, typer.Option(min=1, help="How many levels a side.")] = 50,
    frames: Annotated[int, typer.Option(min=1, help="How many order-book frames; answers come on top.")] = 100,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the next order-book frame.")] = 30.0,
    rewrite: Annotated[bool, typer.Option(help="Replace a recording that exists.")] = False,
    no_credentials: Annotated[bool, typer.Option(help="Subscribe without authenticating.")] = False,
) -> None:
    """Record an order book from CONNEX_WS_URL over one connection; Ctrl-C keeps what arrived.

    Exits with 1 when fewer frames arrived than asked for; what arrived is recorded then, too.
    """
    from .capturing import Conversation, Tape, record

    try:
        config = live_config(read_environment(Path(".env")), ws_timeout=timeout)
        config.require(WS_URL)
        if not no_credentials:
            require_credentials(config)
        path = beside(stem_of(output), SUFFIXES[0])
        refuse_to_replace(path, rewrite)
        with stop_asked() as stopped:
            tape = Tape(path, config, frames)
            ending = record(tape, Conversation(config, symbol, depth, authenticate=not no_credentials), stopped)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex capture: {exc}", err=True)
        raise typer.Exit(2) from None
    if ending:
        typer.echo(f"connex capture: {tape.frames} of {frames} frames: {ending}", err=True)
        raise typer.Exit(1)
