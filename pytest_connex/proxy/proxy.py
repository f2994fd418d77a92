"""Ports in a background thread that stand where Connex would, one for each upstream, and answer as the run wants it.

Played: from the recordings of the test, HTTP and WebSocket, whoever asks. Recorded or passed on: by the upstream.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict
from vcr.request import Request

from ..background import BackgroundLoop
from ..cassette.session import CassetteSession
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig, is_loopback, origin
from ..errors import CassetteError, ConfigError, ReplayAborted
from ..faults import Faults
from .connect import Address
from .endpoint import Behaviour
from .forward import BAD_BODY, BROKEN, Exchange, Forward, kept_headers, refusal, relocated, target, tls
from .port import Port
from .replay import Verdict
from .served import Served

REST = "rest"
WEBSOCKET = "ws"

_UNDERWAY = 20
"""How many turns of the loop what clients have sent gets to arrive when the proxy closes."""

_MISLED = "the connex proxy serves pages of this machine only, and this one names another host"

_NOBODY = "no test that uses Connex is running, so that this belongs to nobody: who asks has been left behind"

_NO_PROXY = ("NO_PROXY", "no_proxy")
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
        self._owner = owner
        self._config = config
        self._upstreams = {REST: config.rest_url, WEBSOCKET: config.ws_url, **upstreams}
        self._ports = {
            name: Port(
                partial(self._http, name),
                partial(self._websocket, name),
                self.faults,
                host,
                port + number if port else 0,
                partial(self._relocated, name),
            )
            for number, name in enumerate(self._upstreams)
        }
        self._forwards: dict[tuple[str, bool], Forward] = {}
        self._served: list[Served] = []
        self._announced: dict[Address, tuple[str, dict[str, Any]]] = {}
        self._dialled: dict[Address, Behaviour] = {}
        self._verified: ssl.SSLContext | None = None
        self._background = BackgroundLoop("connex-proxy")

    def __repr__(self) -> str:
        urls = ", ".join(f"{name}={self.url(name)!r}" for name in self._upstreams)
        return f"Proxy({urls})"

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
        return f"{scheme}://{self._authority(name)}{parts.path}" + (f"?{parts.query}" if parts.query else "")

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
            **no_proxy(),
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
        await _turns()
        for served in list(self._served):
            await self._leave(served)
        for port in self._ports.values():
            await port.stop()
        for forward in self._forwards.values():
            await forward.stop()

    def hear(self) -> None:
        """Take what clients have sent so far."""
        if self._background.is_running:
            self._background.run(_turns())

    def leave(self, session: CassetteSession) -> None:
        """Hear what the clients of a test, or of a fixture, have sent, then end what they left open."""
        served = next((served for served in self._served if served.session is session), None)
        if self._background.is_running:
            self._background.run(self._leave(served))

    async def _leave(self, served: Served | None) -> None:
        await _turns()
        if served is None:
            return
        self._served.remove(served)
        served.stop()
        for port in self._ports.values():
            port.drop(served.has)
        await _turns()

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
            if origin(url) == origin(self.url(name)):
                written = parts.path + (f"?{parts.query}" if parts.query else "")
                return target(_websocket_url(self._upstreams[name]), written or "/")
        return url

    # whoever asks

    def _authority(self, name: str) -> str:
        port = self._ports[name]
        host = f"[{port.host}]" if ":" in port.host else port.host
        return f"{host}:{port.number}"

    def _refused(self, name: str, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to what is not served, whatever it asks."""
        if self._misled(name, request):
            return refusal(421, _MISLED)
        session = self._owner()
        if session is None:
            return refusal(503, _NOBODY)
        if (verdict := session.final_verdict()) is not None:
            return refusal(501, str(verdict))
        return None

    def _forward(self, name: str, keep: bool) -> Forward:
        if (name, keep) not in self._forwards:
            url = self._upstreams[name]
            self._forwards[name, keep] = Forward(url, keep, self._tls(url))
        return self._forwards[name, keep]

    def _tls(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith(("https:", "wss:")):
            return None
        if self._verified is None:
            self._verified = tls()
        return self._verified

    # HTTP

    async def _http(self, name: str, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        session = self._owner()
        if (refused := self._refused(name, request)) is not None or session is None:
            return refused or refusal(503, _NOBODY)
        if request.method == "CONNECT":
            return refusal(405, f"the connex proxy opens no tunnels: its URL takes the place of {REST_URL}")
        if session.plan.action == "replay":
            return await self._play(session, name, request)
        try:
            forward = self._forward(name, session.plan.action == "record")
        except ConfigError as exc:
            return refusal(502, str(exc))
        if session.plan.action == "record":
            return await forward.pass_on(request, self._here(name, request), partial(self._record, session))
        return await forward.pass_on(request, self._here(name, request))

    async def _play(self, session: CassetteSession, name: str, request: web.BaseRequest) -> web.StreamResponse:
        headers = kept_headers(request.headers)
        try:
            body = await request.content.read()
        except BAD_BODY:
            return refusal(400, BROKEN)
        asked = _request(request.method, target(self._upstreams[name], request.raw_path), body, headers)
        found = None
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            found = session.play_http(asked)
        if found is None:
            return refusal(501, str(session.verdict))
        return self._played(name, found, request)

    def _played(self, name: str, found: dict[str, Any], request: web.BaseRequest) -> web.Response:
        body = found["body"].get("string") or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        headers: CIMultiDict[str] = CIMultiDict()
        for header, values in found["headers"].items():
            for value in [values] if isinstance(values, str) else values:
                headers.add(header, relocated(header, str(value), self._upstreams[name], self._here(name, request)))
        kept = CIMultiDict(kept_headers(headers))
        if request.method != "HEAD":
            kept.popall("Content-Length", None)
        status = found["status"]
        return web.Response(status=status["code"], reason=status.get("message") or "", headers=kept, body=content)

    def _own_origins(self, name: str) -> tuple[str, str]:
        return f"http://{self._authority(name)}", f"http://localhost:{self._ports[name].number}"

    def _relocated(self, name: str, request: web.BaseRequest, location: str) -> str:
        """Return where a WebSocket handshake is redirected to, as the client is to see it."""
        here = self._here(name, request).replace("http", "ws", 1)
        return relocated("Location", location, _websocket_url(self._upstreams[name]), here)

    def _misled(self, name: str, request: web.BaseRequest) -> bool:
        """Tell whether a browser was made to take this port for a server of another name, by a page from there."""
        host = urlsplit(self._here(name, request)).hostname or ""
        from_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
        return from_browser and is_loopback(self._ports[name].host) and not is_loopback(host)

    def _here(self, name: str, request: web.BaseRequest) -> str:
        """Return scheme and host of this proxy as the client knows it."""
        return f"http://{request.headers.get('Host') or self._authority(name)}"

    def _record(self, session: CassetteSession, exchange: Exchange) -> None:
        with suppress(ReplayAborted):  # ends a test; the client has its answer
            if not exchange.whole:
                broken = f"the server broke off its answer to {exchange.method}: that cannot be recorded"
                session.fail(CassetteError(broken, session.plan.http_path))
                return
            request = _request(exchange.method, exchange.url, bytes(exchange.body), exchange.headers)
            headers: dict[str, list[str]] = {}
            for name, value in exchange.answer_headers:
                headers.setdefault(name, []).append(value)
            status = {"code": exchange.status, "message": exchange.reason}
            response = {"status": status, "headers": headers, "body": {"string": bytes(exchange.answer)}}
            session.record_http(request, response)

    # WebSocket

    def _websocket(self, name: str, request: web.BaseRequest) -> Behaviour | web.Response:
        peer = (request.transport.get_extra_info("peername") or ("", 0))[:2] if request.transport else ("", 0)
        announced = self._announced.pop(peer, None)
        session = self._owner()
        if announced is None and (refused := self._refused(name, request)) is not None:
            return refused
        if session is None:
            return refusal(503, _NOBODY)
        if announced is not None:
            url, dial = announced
            behaviour = self._dial(session, url, dial)
            self._dialled[peer] = behaviour
            return behaviour
        if not self._upstreams[name]:
            return refusal(502, "no upstream for WebSocket is configured")
        url = target(_websocket_url(self._upstreams[name]), request.raw_path)
        dial = _dial(request) | {"show_redirects": True}
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
            served = Served(session)
            self._served.append(served)
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            return served.dial(url, dial)
        return Verdict(session.verdict or CassetteError("the test has ended"))


async def _turns() -> None:
    for _ in range(_UNDERWAY):
        await asyncio.sleep(0)


def _websocket_url(url: str) -> str:
    """Return the URL of the WebSockets of a server."""
    return url.replace("http", "ws", 1) if url.startswith("http") else url


def _origin(url: str) -> str:
    """Return what a browser calls the origin of the page that a WebSocket server is on."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme in ('wss', 'https') else 'http'}://{parts.netloc}"


def _dial(request: web.BaseRequest) -> dict[str, Any]:
    """Return a handshake as the arguments of ``websockets.connect``."""
    dial: dict[str, Any] = {
        "additional_headers": _dial_headers(request),
        "user_agent_header": request.headers.get("User-Agent"),
    }
    if origin := request.headers.get("Origin"):
        dial["origin"] = origin
    offered = request.headers.getall("Sec-WebSocket-Protocol", [])
    if names := [name.strip() for line in offered for name in line.split(",") if name.strip()]:
        dial["subprotocols"] = names
    return dial


def _dial_headers(request: web.BaseRequest) -> list[tuple[str, str]]:
    kept = kept_headers(request.headers)
    return [
        (name, value)
        for name, value in kept
        if name.lower() not in _NOT_FOR_THE_SERVER and not name.lower().startswith("sec-websocket-")
    ]


def _request(method: str, url: str, body: bytes, headers: list[tuple[str, str]]) -> Request:
    """Return a request as VCR has it, which logs the URL that it is made with."""
    request = Request(method, "", body or None, _joined(headers))
    request.uri = url
    return request


def _joined(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers as VCR has those of a request: repeated ones as a list in one."""
    joined: dict[str, str] = {}
    for name, value in headers:
        known = next((other for other in joined if other.lower() == name.lower()), None)
        if known is None:
            joined[name] = value
        else:
            joined[known] += f", {value}"
    return joined


def no_proxy() -> dict[str, str]:
    """Return the variables that keep clients from going through a forward proxy to this machine."""
    return {name: _with_loopback(os.environ.get(name, "")) for name in _NO_PROXY}


def _with_loopback(listed: str) -> str:
    return listed if "127.0.0.1" in listed else ",".join(filter(None, (listed, "127.0.0.1,localhost")))
