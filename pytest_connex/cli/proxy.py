"""``connex proxy``: a proxy to point any program at, that passes on, records, replays and misbehaves."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import GENERATOR
from ..cassette.session import Action, CassetteSession, Plan, Settings
from ..config import (
    API_KEY,
    API_SECRET,
    REST_URL,
    WS_URL,
    ConnexConfig,
    is_loopback,
    live_config,
    read_environment,
    recorded_config,
)
from ..errors import CassetteError, ConfigError
from ..protocol import Dialect
from ..upstreams import all_upstreams, checked, recorded_upstream
from .dialect import load_dialect
from .recording import SUFFIXES, require_credentials, stem_of, stop_asked

if TYPE_CHECKING:
    from ..proxy.certificates import Certificates
    from ..proxy.proxy import Proxy

_REFRESH = 0.2


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
    try:
        if not is_loopback(host) and not expose:
            raise ConfigError(f"{host} can be reached by other machines: add --expose if that is what you want")
        if record is not None and replay is not None:
            raise ConfigError("--record and --replay exclude each other")
        action: Action = "replay" if replay is not None else "record" if record is not None else "pass"
        known = read_environment(Path(".env"))
        config = recorded_config() if action == "replay" else _live(known, upstream_rest, upstream_ws)
        stem = stem_of(replay or record or Path("unused"))
        _check_files(action, stem, rewrite)
        if action == "record" and not no_credentials:
            require_credentials(config)
        secrets = tuple(value for name in (API_KEY, API_SECRET) if (value := known.get(name)))
        upstreams = _named(upstream or [], action)
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
        session = _Standing(plan, lambda: Settings(config, spoken, all_upstreams(config, upstreams)), _Teller())
        with ExitStack() as stack:
            certificates = _certificates(stack) if tls else None

            def made() -> Proxy:
                from ..proxy.proxy import Proxy

                proxy = Proxy(lambda: session, config, upstreams, seed, host, port)
                if certificates is not None:
                    proxy.use_tls(certificates)
                return proxy

            _serve(session, made, fault or [])
        if session.failed:
            raise typer.Exit(1)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex proxy: {exc}", err=True)
        raise typer.Exit(2) from None


def _certificates(stack: ExitStack) -> Certificates:
    """Return certificates that last as long as ``stack``."""
    from ..proxy.certificates import Certificates

    certificates = Certificates()
    stack.callback(certificates.remove)
    return certificates


def _serve(session: _Standing, made: Callable[[], Proxy], faults: list[str]) -> None:
    from ..faults import apply_fault

    with stop_asked() as stopped:
        session.open()
        if session.verdict is not None:
            raise session.verdict
        with made() as proxy:
            for script in faults:
                apply_fault(proxy.faults, script)
            _announce(proxy, session.plan.action)
            while not stopped.wait(_REFRESH):
                _count(proxy)
        _count(proxy, last=True)
        for line in proxy.faults.happened():
            typer.echo(line, err=True)
        session.close()
        if session.plan.strict and (left := session.unplayed()):
            session.fail(left)
    try:
        session.commit()
    finally:
        session.discard()
    for path in session.account.written:
        typer.echo(f"recorded {path}", err=True)
    if session.plan.action == "record" and not session.account.written:
        typer.echo("nothing was recorded", err=True)


def _named(given: list[str], action: Action) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if bare := [name for name, separator, _ in pairs if not separator]:
        raise ConfigError(f"--upstream {bare[0]}: expected NAME=URL")
    named = checked({name: url for name, _, url in pairs})
    return {name: recorded_upstream(name, url) for name, url in named.items()} if action == "replay" else named


def _announce(proxy: Proxy, action: Action) -> None:
    own = () if action == "replay" else (API_KEY, API_SECRET)
    for name, value in proxy.variables().items():
        if value and name not in own:
            typer.echo(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    typer.echo("Copy the lines above into the shell of the program; Ctrl-C stops.", err=True)


def _count(proxy: Proxy, last: bool = False) -> None:
    while proxy.notes:
        typer.echo(proxy.notes.pop(0), err=True)
    if last or sys.stderr.isatty():
        text = f"requests: {proxy.requests}, frames: {proxy.frames}"
        typer.echo(f"\r{text}" if sys.stderr.isatty() else text, err=True, nl=last)


def _live(known: dict[str, str], rest: str, ws: str) -> ConnexConfig:
    values = known | {name: value for name, value in ((REST_URL, rest), (WS_URL, ws)) if value}
    if not (values.get(REST_URL) or values.get(WS_URL)):
        raise ConfigError(
            "there is nothing to pass on to: give --upstream-rest and --upstream-ws, or set "
            f"{REST_URL} and {WS_URL}; or answer from a recording with --replay FILE"
        )
    return live_config(values)


def _check_files(action: Action, stem: Path, rewrite: bool) -> None:
    there = [path for suffix in SUFFIXES if (path := stem.with_name(stem.name + suffix)).exists()]
    if action == "replay" and not there:
        raise ConfigError(f"there is no recording {stem}{SUFFIXES[0]} or {stem}{SUFFIXES[1]}")
    if action == "record" and there and not rewrite:
        raise ConfigError(f"{there[0]} exists: add --rewrite to replace it")


class _Teller:
    """Ends nothing: there is no test."""

    def begin(self, verdict: CassetteError) -> None:
        """The verdict has been told."""

    def asked_again(self) -> None:
        """The next client is served."""


class _Standing(CassetteSession):
    """Recordings outside of a test: a verdict is told, and the next client is served."""

    failed = False

    def fail(self, verdict: CassetteError) -> None:
        self.verdict, self.failed = verdict, True
        typer.echo(f"connex proxy: {verdict}", err=True)

    def final_verdict(self) -> None:
        self.verdict = None
