"""``connex sandbox``: the embedded exchange as a server of its own."""

from __future__ import annotations

import asyncio
import shlex
import signal
from typing import Annotated

import typer

from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, is_loopback
from ..errors import ConfigError


def sandbox(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On which port; 0 takes a free one.")] = 8765,
    seed: Annotated[int, typer.Option(help="Makes keys and markets.")] = 7,
    interval: Annotated[float, typer.Option(min=0.001, max=3600, help="Seconds between two updates.")] = 0.05,
    expose: Annotated[bool, typer.Option(help="Allow a host that other machines can reach.")] = False,
) -> None:
    """Serve the sandbox exchange until interrupted; print the variables that lead to it."""
    if not is_loopback(host) and not expose:
        _refuse(f"{host} can be reached by other machines: add --expose if that is what you want")
    try:
        asyncio.run(_serve(host, port, seed, interval))
    except ConfigError as exc:
        _refuse(str(exc))


async def _serve(host: str, port: int, seed: int, interval: float) -> None:
    from ..faults import Faults
    from ..sandbox.exchange import Exchange
    from ..sandbox.server import WEBSOCKET_PATH, SandboxServer

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    exchange = Exchange(seed)
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


def _refuse(message: str) -> None:
    typer.echo(f"connex sandbox: {message}", err=True)
    raise typer.Exit(2)
