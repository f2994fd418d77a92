"""Ports in a background thread that stand where Connex would, one for each upstream, and answer as the run wants it.

Played: from the recordings of the test, HTTP and WebSocket, whoever asks. Recorded or passed on: by the upstream.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from ..background import BackgroundLoop, hear
from ..cassette.exchange import HttpRequest
from ..cassette.session import CassetteSession
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig
from ..errors import CassetteError, ConfigError, ReplayAborted
from ..faults import Faults
from ..upstreams import REST, WEBSOCKET, all_upstreams, http_url, websocket_url
from .connect import Address
from .endpoint import Behaviour
from .forward import Forward, kept_headers, relocated, target, tls
from .http import Answering, Asked, Refusal, refusal
from .messages import Headers, values
from .playing import Playing
from .port import Port
from .replay import Verdict
from .served import Served
from .taping import Taping

if TYPE_CHECKING:
    from ..virtual import StandIn
    from .certificates import Certificates

_NOBODY = "no test that uses Connex is running, so that this belongs to nobody: who asks has been left behind"

_NO_PROXY = ("NO_PROXY", "no_proxy")
_HERE = ("127.0.0.1", "localhost")
_NOT_FOR_THE_SERVER = frozenset({"host", "connection", "upgrade", "origin", "user-agent"})


class Proxy:
    """Where the clients of a run, of a test, or of anybody find Connex.

    Args:
        owner: Returns whose recordings count at the moment, or None where nobody asks for good reason.
        config: Connex behind it, and who is asking.
        upstreams: The URLs of other servers behind it, by name.
        seed: Of the faults.
        host: Where to listen.
        port: On which port; the next one has the next upstream. 0 takes free ones.

    Attributes:
        faults: What goes wrong between it and its clients.
        requests: How many HTTP requests it has had.
        notes: Why clients got no answer, in words.
        certificates: Those that clients which insist on TLS are served with; None where there are none.
        secure: Whether the URLs of this proxy are those of TLS; the ports serve clients without it all the same.
    """

    def __init__(
        self,
        owner: Callable[[], CassetteSession | None],
        config: ConnexConfig,
        upstreams: Mapping[str, str] = MappingProxyType({}),
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.faults = Faults(seed)
        self.requests = 0
        self.notes: list[str] = []
        self.certificates: Certificates | None = None
        self.secure = False
        self._owner = owner
        self._config = config
        self._upstreams = all_upstreams(config, upstreams)
        self._ports = {
            name: self._port(name, host, port + number if port else 0) for number, name in enumerate(self._upstreams)
        }
        self._forwards: dict[tuple[str, bool], Forward] = {}
        self._served: list[Served] = []
        self._visiting: CassetteSession | None = None
        self._uses: Callable[[CassetteSession], bool] = lambda fixture: True
        self._announced: dict[Address, tuple[str, dict[str, Any]]] = {}
        self._dialled: dict[Address, Behaviour] = {}
        self._verified: ssl.SSLContext | None = None
        self._background = BackgroundLoop("connex-proxy")

    def __repr__(self) -> str:
        urls = ", ".join(f"{name}={self.url(name)!r}" for name in self._upstreams)
        return f"Proxy({urls})"

    def _port(self, name: str, host: str = "127.0.0.1", number: int = 0) -> Port:
        url = self._upstreams[name]
        port = Port(
            partial(self._http, name),
            partial(self._websocket, name),
            self.faults,
            host,
            number,
            partial(self._relocated, name),
            {_origin(url)} if url else (),
        )
        if self.certificates is not None:
            port.secure(self.certificates.context)
        return port

    def use_tls(self, certificates: Certificates) -> None:
        """Serve clients that insist on TLS, and have the URLs say so."""
        self.certificates, self.secure = certificates, True
        for port in self._ports.values():
            port.secure(certificates.context)

    @property
    def frames(self) -> int:
        """How many WebSocket messages it has passed, in both directions."""
        return sum(port.frames for port in self._ports.values())

    @property
    def rest_url(self) -> str:
        """The URL that takes the place of ``CONNEX_REST_URL``."""
        return self.url(REST)

    @property
    def ws_url(self) -> str:
        """The URL that takes the place of ``CONNEX_WS_URL``."""
        return self.url(WEBSOCKET)

    def url(self, name: str) -> str:
        """Return the URL that takes the place of an upstream's.

        Raises:
            ConfigError: No upstream has this name.
        """
        if name not in self._upstreams:
            raise ConfigError(f"there is no upstream {name!r}: there are {', '.join(self._upstreams)}")
        parts = urlsplit(self._upstreams[name])
        scheme = "ws" if parts.scheme in ("ws", "wss") else "http"
        return f"{scheme}{self._s}://{self._authority(name)}{parts.path}" + (f"?{parts.query}" if parts.query else "")

    def urls(self) -> list[str]:
        """Return the URL of every upstream."""
        return [self.url(name) for name in self._upstreams]

    def env(self) -> dict[str, str]:
        """Return the environment of a subprocess that is to use this proxy: the own one, changed."""
        return {name: value for name, value in (os.environ | self.variables()).items() if value is not None}

    def variables(self) -> dict[str, str | None]:
        """Return what of the environment leads to this proxy; None for what must not be set."""
        return {
            REST_URL: self.rest_url,
            WS_URL: self.ws_url,
            API_KEY: self._config.api_key,
            API_SECRET: self._config.api_secret,
            **{variable(name): self.url(name) for name in self._upstreams if name not in (REST, WEBSOCKET)},
            **no_proxy(),
            **(self.certificates.variables() if self.certificates is not None and self.secure else {}),
        }

    def start(self) -> Proxy:
        """Listen.

        Raises:
            ConfigError: A port cannot be had, or ``CONNEX_CA_BUNDLE`` not be read.
        """
        self._background.start()
        try:
            for port in self._ports.values():
                self._background.run(port.start())
        except BaseException:
            self._background.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop listening, once what clients have sent has been heard. Calling it again does nothing."""
        if self._background.is_running:
            self._background.run(self._stop())
            self._background.stop()

    async def _stop(self) -> None:
        await hear()
        for served in list(self._served):
            await self._leave(served.session)
        for port in self._ports.values():
            await port.stop()
        for forward in self._forwards.values():
            await forward.stop()

    def hear(self) -> None:
        """Take what clients have sent so far."""
        self._on_loop(hear())

    def visit(self, session: CassetteSession, uses: Callable[[CassetteSession], bool] = lambda fixture: True) -> None:
        """A test begins: what passes on connections of the shared fixtures that it uses is on its tape.

        Args:
            session: The recordings of the test.
            uses: Tells whether it uses the fixture with these recordings. Of others it has what it sends, and what
                comes from then on.
        """
        self._on_loop(self._visit(session, uses))

    async def _visit(self, session: CassetteSession, uses: Callable[[CassetteSession], bool]) -> None:
        await hear()
        self._visiting, self._uses = session, uses
        self._settle()

    def pause(self) -> None:
        """A shared fixture is about to be set up: what the test uses may be used by the fixture now."""
        self._on_loop(self._pause())

    async def _pause(self) -> None:
        await hear()
        if self._visiting is not None:
            self._turn(self._visiting, None)

    def hand_over(self, session: CassetteSession | None) -> None:
        """A shared fixture has been set up: the connections that it has dialled and used are for the tests."""
        self._on_loop(self._hand_over(session))

    async def _hand_over(self, session: CassetteSession | None) -> None:
        await hear()
        if session is not None:
            self._turn(session, None)
        self._settle()

    def take_back(self, session: CassetteSession) -> None:
        """A shared fixture is about to end: its connections are its own again."""
        self._on_loop(self._take_back(session))

    async def _take_back(self, session: CassetteSession) -> None:
        await hear()
        for served in self._served:
            if served.session is session:
                served.take_back()

    def _turn(self, before: CassetteSession | None, after: CassetteSession | None) -> None:
        for served in self._served:
            served.turn(before, after)

    def _settle(self) -> None:
        """Give the test what it uses of the connections that nobody has."""
        for served in self._served:
            if self._visiting is not None and self._uses(served.session):
                served.turn(None, self._visiting)

    def _on_loop(self, work: Coroutine[Any, Any, None]) -> None:
        if self._background.is_running:
            self._background.run(work)
        else:
            work.close()

    def leave(self, session: CassetteSession) -> None:
        """Hear what the clients of a test, or of a fixture, have sent, then end what they left open."""
        self._on_loop(self._leave(session))

    async def _leave(self, session: CassetteSession) -> None:
        await hear()
        if session is self._visiting:
            self._visiting = None
        for other in self._served:
            if other.session is not session:
                other.part(session)
        served = next((served for served in self._served if served.session is session), None)
        if served is None:
            return
        self._served.remove(served)
        await served.stop()
        for port in self._ports.values():
            port.drop(served.has)
        await hear()

    def stand_ins(self) -> dict[int, Callable[[], StandIn]]:
        """Return what serves each port on the loop of a virtual clock, by the number of the port."""
        return {port.number: partial(_StandIn, self, name) for name, port in self._ports.items()}

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # dials of this process, whose URLs are fixed

    @property
    def address(self) -> Address:
        """Host and port where WebSockets are dialled."""
        port = self._ports[WEBSOCKET]
        return port.host, port.number

    def announce(self, dialler: Address, url: str, dial: dict[str, Any]) -> None:
        """Know what the connection from the address ``dialler`` means: ``url``, with these arguments."""
        self._announced[dialler] = self._behind(url), dial

    def behaviour(self, dialler: Address) -> Behaviour | None:
        """Return what answers the connection from there; each is asked for once."""
        return self._dialled.pop(dialler, None)

    def _behind(self, url: str) -> str:
        """Return what a URL means: one of this proxy is that of its upstream."""
        parts = urlsplit(url)
        for name in self._upstreams:
            if urlsplit(url).netloc == self._authority(name):
                written = parts.path + (f"?{parts.query}" if parts.query else "")
                return target(websocket_url(self._upstreams[name]), written or "/")
        return url

    # whoever asks

    def _authority(self, name: str) -> str:
        port = self._ports[name]
        host = f"[{port.host}]" if ":" in port.host else port.host
        return f"{host}:{port.number}"

    def _forward(self, name: str, keep: bool) -> Forward:
        if (name, keep) not in self._forwards:
            url = http_url(self._upstreams[name])
            self._forwards[name, keep] = Forward(url, keep, self._tls(url), self.notes.append)
        return self._forwards[name, keep]

    def _tls(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith(("https:", "wss:")):
            return None
        if self._verified is None:
            self._verified = tls()
        return self._verified

    # HTTP

    async def _http(self, name: str, asked: Asked, answering: Answering) -> None:
        self.requests += 1
        session = self._owner()
        if session is None:
            answering.refuse(refusal(503, _NOBODY))
        elif (verdict := session.final_verdict()) is not None:
            answering.refuse(refusal(501, str(verdict)))
        elif session.plan.action == "replay":
            await self._play(session, name, asked, answering)
        else:
            await self._pass_on(session, name, asked, answering)

    async def _pass_on(self, session: CassetteSession, name: str, asked: Asked, answering: Answering) -> None:
        keep = session.plan.action == "record"
        try:
            forward = self._forward(name, keep)
        except ConfigError as exc:
            answering.refuse(refusal(502, str(exc)))
            return
        observer = Taping(session.http_recorder(), name, session.fail) if keep else None
        await forward.pass_on(asked, answering, self._here(name, asked), observer)

    async def _play(self, session: CassetteSession, name: str, asked: Asked, answering: Answering) -> None:
        upstream = http_url(self._upstreams[name])
        body = await asked.read()
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            try:
                player = session.http_player()
                request = HttpRequest(asked.method, target(upstream, asked.target), kept_headers(asked.headers), body)
                played = player.ask(request, name)
                plan, here = session.plan, self._here(name, asked)
                playing = Playing(
                    played, player.order, plan.replay_timeout, plan.pace, partial(_headed, upstream, here)
                )
                await playing.play(asked, answering)
                return
            except CassetteError as exc:
                session.fail(exc)
        if answering.began:
            answering.cut()
        else:
            answering.refuse(refusal(501, str(session.verdict)))

    def _own_origins(self, name: str) -> set[str]:
        places = self._authority(name), f"localhost:{self._ports[name].number}"
        return {f"{scheme}://{place}" for place in places for scheme in ("http", "https")}

    def _relocated(self, name: str, asked: Asked, location: str) -> str:
        """Return where a WebSocket handshake is redirected to, as the client is to see it."""
        here = self._here(name, asked).replace("http", "ws", 1)
        return relocated("Location", location, websocket_url(self._upstreams[name]), here)

    def _here(self, name: str, asked: Asked) -> str:
        """Return scheme and host of this proxy as the client knows it."""
        return f"http{self._s}://{asked.value('host') or self._authority(name)}"

    @property
    def _s(self) -> str:
        return "s" if self.secure else ""

    # WebSocket

    def _websocket(self, name: str, asked: Asked) -> Behaviour | Refusal:
        peer = cast(Address, asked.peer)
        announced = self._announced.pop(peer, None)
        session = self._owner()
        if session is None:
            return refusal(503, _NOBODY)
        if announced is not None:
            behaviour = self._dial(session, *announced)
            self._dialled[peer] = behaviour
            return behaviour
        if (verdict := session.final_verdict()) is not None:
            return refusal(501, str(verdict))
        if not self._upstreams[name]:
            return refusal(502, "no upstream for WebSocket is configured")
        url = target(websocket_url(self._upstreams[name]), asked.target)
        dial = _dial(asked)
        if dial.get("origin") in self._own_origins(name):  # the client's own idea of where the server is
            dial["origin"] = _origin(self._upstreams[name])
        if session.plan.action != "replay":
            try:
                dial["ssl"] = self._tls(url)
            except ConfigError as exc:
                return refusal(502, str(exc))
        return self._dial(session, url, dial)

    def _dial(self, session: CassetteSession, url: str, dial: dict[str, Any]) -> Behaviour:
        served = next((served for served in self._served if served.session is session), None)
        if served is None:
            served = Served(session, self._owner)
            self._served.append(served)
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            return served.dial(url, dial)
        return Verdict(session.verdict or CassetteError("the test has ended"))


class _StandIn:
    """One port of a proxy, served by another loop for its clients.

    Args:
        proxy: Whose port it is.
        name: That of the upstream.
    """

    def __init__(self, proxy: Proxy, name: str) -> None:
        self._proxy = proxy
        self._port = proxy._port(name)

    async def start(self) -> int:
        """Listen, within the running loop, and return the number of the port."""
        return await self._port.start()

    async def stop(self) -> None:
        """Hear what clients have sent, then end what is connected."""
        await hear()
        for served in list(self._proxy._served):
            await served.stop()
        await self._port.stop()


def _headed(upstream: str, here: str, headers: Headers) -> Headers:
    """Return the headers of a recorded answer for a client that knows the server as ``here``."""
    return [(name, relocated(name, value, upstream, here)) for name, value in kept_headers(headers)]


def _origin(url: str) -> str:
    """Return what a browser calls the origin of the page that a server is on."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme in ('https', 'wss') else 'http'}://{parts.netloc}"


def _dial(asked: Asked) -> dict[str, Any]:
    """Return a handshake as the arguments of ``websockets.connect``."""
    dial: dict[str, Any] = {
        "additional_headers": _dial_headers(asked),
        "user_agent_header": asked.value("user-agent"),
    }
    if origin := asked.value("origin"):
        dial["origin"] = origin
    offered = values(asked.headers, "sec-websocket-protocol")
    if names := [name.strip() for line in offered for name in line.split(",") if name.strip()]:
        dial["subprotocols"] = names
    return dial


def _dial_headers(asked: Asked) -> Headers:
    return [
        (name, value)
        for name, value in kept_headers(asked.headers)
        if name.lower() not in _NOT_FOR_THE_SERVER and not name.lower().startswith("sec-websocket-")
    ]


def variable(name: str) -> str:
    """Return the variable that leads to an upstream which a project has named."""
    return f"CONNEX_UPSTREAM_{name.upper().replace('-', '_')}"


def no_proxy() -> dict[str, str]:
    """Return the variables that keep clients from going through a forward proxy to this machine."""
    listed = [name for value in map(os.environ.get, _NO_PROXY) if value for name in value.split(",")]
    if "*" in map(str.strip, listed):
        return {}
    return dict.fromkeys(_NO_PROXY, ",".join(dict.fromkeys((*map(str.strip, listed), *_HERE))))
