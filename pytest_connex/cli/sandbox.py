"""``connex sandbox``: the embedded exchange as a server of its own."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, is_loopback
from ..errors import ConfigError
from ..sandbox.limits import RATE_LIMIT
from .dialect import load_dialect

if TYPE_CHECKING:
    from ..sandbox.exchange import Exchange


def sandbox(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On which port; 0 takes a free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Makes keys and markets.")] = 7,
    interval: Annotated[float, typer.Option(min=0.001, max=3600, help="Seconds between two updates.")] = 0.05,
    dialect: Annotated[
        str, typer.Option(metavar="MODULE:CLASS", help="What is spoken; the module may be in the current folder.")
    ] = "",
    rate_limit: Annotated[int, typer.Option(min=1, help="REST requests a minute that a key may make.")] = RATE_LIMIT,
    clock_skew: Annotated[float, typer.Option(help="Seconds by which its clock is ahead; below zero, behind.")] = 0.0,
    expose: Annotated[bool, typer.Option(help="Allow a host that other machines can reach.")] = False,
) -> None:
    """Serve the sandbox exchange until interrupted; print the variables that lead to it."""
    import asyncio

    from ..sandbox.exchange import Exchange

    try:
        if not is_loopback(host) and not expose:
            raise ConfigError(f"{host} can be reached by other machines: add --expose if that is what you want")
        spoken = load_dialect(dialect) if dialect else None
        asyncio.run(_serve(Exchange(seed, spoken, rate_limit, clock_skew), host, port, interval))
    except ConfigError as exc:
        typer.echo(f"connex sandbox: {exc}", err=True)
        raise typer.Exit(2) from None


async def _serve(exchange: Exchange, host: str, port: int, interval: float) -> None:
    import asyncio

    from ..faults import Faults
    from ..sandbox.server import WEBSOCKET_PATH, SandboxServer

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    credentials = exchange.new_credentials()
    server = SandboxServer(exchange, Faults(), interval, host, port)
    port = await server.start()
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    for name, value in (
        (REST_URL, f"http://{address}"),
        (WS_URL, f"ws://{address}{WEBSOCKET_PATH}"),
        (API_KEY, credentials.api_key),
        (API_SECRET, credentials.api_secret),
    ):
        typer.echo(f"export {name}={shlex.quote(value)}")
    typer.echo("Serving the sandbox. Copy the lines above into another shell; Ctrl-C stops.", err=True)
    await stopped.wait()
    await server.stop()
