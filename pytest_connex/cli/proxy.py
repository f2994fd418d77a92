"""``connex proxy``: a proxy to point any program at, that passes on, records, replays and misbehaves."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import GENERATOR
from ..config import API_KEY, API_SECRET, is_loopback, read_environment, recorded_config
from ..errors import CassetteError, ConfigError
from .dialect import load_dialect
from .recording import require_credentials, stem_of

if TYPE_CHECKING:
    from ..cassette.session import Action
    from ..proxy.proxy import Proxy


def proxy(
    upstream_rest: Annotated[str, typer.Option(help="Base URL of REST; without it CONNEX_REST_URL.")] = "",
    upstream_ws: Annotated[str, typer.Option(help="URL of the WebSocket; without it CONNEX_WS_URL.")] = "",
    upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="Another server to stand for, on a port of its own; repeatable."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Record into FILE.ws.jsonl and FILE.yaml.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer from FILE.ws.jsonl and FILE.yaml, each part once.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help="What goes wrong, for example close_after:frames=10,code=1012; repeatable."
        ),
    ] = None,
    volatile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="With --replay: a member or parameter that differs in every run, dotted; repeatable."
        ),
    ] = None,
    match_header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="With --replay: a header that must hold what it held; repeatable."),
    ] = None,
    pace: Annotated[
        float,
        typer.Option(min=0, help="With --replay: recorded intervals are multiplied with this; 0 drops them."),
    ] = 0.0,
    strict: Annotated[bool, typer.Option(help="With --replay: everything must be used, nothing more sent.")] = False,
    dialect: Annotated[
        str, typer.Option(metavar="MODULE:CLASS", help="What is spoken; the module may be in the current folder.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Makes jitter and corrupted bytes.")] = 0,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="On which port; 0 takes a free one.")] = 0,
    expose: Annotated[bool, typer.Option(help="Allow a host that other machines can reach.")] = False,
    tls: Annotated[bool, typer.Option(help="Give https and wss URLs, with a certificate made for the run.")] = False,
    rewrite: Annotated[bool, typer.Option(help="Replace a recording that exists.")] = False,
    no_credentials: Annotated[bool, typer.Option(help="Record clients that use no key and no secret.")] = False,
) -> None:
    """Stand where Connex would, until interrupted; print the variables that lead there."""
    from ..cassette.session import Plan, Settings
    from ..protocol import Dialect
    from ..upstreams import all_upstreams
    from .proxying import Standing, Teller, certificates_for, check_files, gateway, named, serve

    try:
        if not is_loopback(host) and not expose:
            raise ConfigError(f"{host} can be reached by other machines: add --expose if that is what you want")
        if record is not None and replay is not None:
            raise ConfigError("--record and --replay exclude each other")
        action: Action = "replay" if replay is not None else "record" if record is not None else "pass"
        known = read_environment(Path(".env"))
        config = recorded_config() if action == "replay" else gateway(known, upstream_rest, upstream_ws)
        stem = stem_of(replay or record or Path("unused"))
        check_files(action, stem, rewrite)
        if action == "record" and not no_credentials:
            require_credentials(config)
        secrets = tuple(value for name in (API_KEY, API_SECRET) if (value := known.get(name)))
        upstreams = named(upstream or [], action)
        spoken = load_dialect(dialect) if dialect else Dialect()
        plan = Plan(
            action=action,
            test="connex proxy",
            stem=stem.absolute(),
            source="proxy",
            generator=GENERATOR,
            secrets=secrets,
            again=f"record it: connex proxy --record {shlex.quote(str(stem))} --rewrite",
            volatile=tuple(volatile or ()),
            match_headers=tuple(match_header or ()),
            pace=pace,
            strict=strict,
        )
        session = Standing(plan, lambda: Settings(config, spoken, all_upstreams(config, upstreams)), Teller())
        with ExitStack() as stack:
            certificates = certificates_for(stack) if tls else None

            def made() -> Proxy:
                from ..proxy.proxy import Proxy

                proxy = Proxy(lambda: session, config, upstreams, seed, host, port)
                if certificates is not None:
                    proxy.use_tls(certificates)
                return proxy

            serve(session, made, fault or [])
        if session.failed:
            raise typer.Exit(1)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex proxy: {exc}", err=True)
        raise typer.Exit(2) from None
