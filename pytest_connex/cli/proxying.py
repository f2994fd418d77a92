"""What ``connex proxy`` does: it serves until it is interrupted, and tells what passes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..cassette.session import Action, CassetteSession
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig, live_config
from ..errors import CassetteError, ConfigError
from ..upstreams import checked, recorded_upstream
from .recording import SUFFIXES, stop_asked

if TYPE_CHECKING:
    from ..proxy.certificates import Certificates
    from ..proxy.proxy import Proxy

_REFRESH = 0.2


def certificates_for(stack: ExitStack) -> Certificates:
    """Return certificates that last as long as ``stack``."""
    from ..proxy.certificates import Certificates

    certificates = Certificates()
    stack.callback(certificates.remove)
    return certificates


def serve(session: Standing, made: Callable[[], Proxy], faults: list[str]) -> None:
    """Serve until interrupted, and put what was recorded into its place.

    Args:
        session: The recordings.
        made: Makes the proxy, when the recordings are open.
        faults: What goes wrong, as it is written on the command line.
    """
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


def named(given: list[str], action: Action) -> dict[str, str]:
    """Return the further servers by name, from ``NAME=URL``.

    Raises:
        ConfigError: One is not written so.
    """
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


def gateway(known: dict[str, str], rest: str, ws: str) -> ConnexConfig:
    """Return where requests are passed on to.

    Raises:
        ConfigError: Nowhere.
    """
    values = known | {name: value for name, value in ((REST_URL, rest), (WS_URL, ws)) if value}
    if not (values.get(REST_URL) or values.get(WS_URL)):
        raise ConfigError(
            "there is nothing to pass on to: give --upstream-rest and --upstream-ws, or set "
            f"{REST_URL} and {WS_URL}; or answer from a recording with --replay FILE"
        )
    return live_config(values)


def check_files(action: Action, stem: Path, rewrite: bool) -> None:
    """Check that what is replayed is there, and what is recorded is not.

    Raises:
        ConfigError: It is the other way round.
    """
    there = [path for suffix in SUFFIXES if (path := stem.with_name(stem.name + suffix)).exists()]
    if action == "replay" and not there:
        raise ConfigError(f"there is no recording {stem}{SUFFIXES[0]} or {stem}{SUFFIXES[1]}")
    if action == "record" and there and not rewrite:
        raise ConfigError(f"{there[0]} exists: add --rewrite to replace it")


class Teller:
    """Ends nothing: there is no test."""

    def begin(self, verdict: CassetteError) -> None:
        """The verdict has been told."""

    def asked_again(self) -> None:
        """The next client is served."""


class Standing(CassetteSession):
    """Recordings outside of a test: a verdict is told, and the next client is served."""

    failed = False

    def fail(self, verdict: CassetteError) -> None:
        """Tell a verdict."""
        self.verdict, self.failed = verdict, True
        typer.echo(f"connex proxy: {verdict}", err=True)

    def final_verdict(self) -> None:
        """Forget it: the next client is served."""
        self.verdict = None
