"""A port in a background thread that stands where Connex would, and answers as the run wants it.

Played: from the recordings of the test, HTTP and WebSocket, the very same that its own process uses. Recorded or
passed on: by the server of the configuration.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict
from vcr.request import Request

from ..background import BackgroundLoop
from ..cassette.session import CassetteSession
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig, is_loopback
from ..errors import CassetteError, ReplayAborted
from ..faults import Faults
from .endpoint import Behaviour
from .forward import BAD_BODY, BROKEN, Exchange, Forward, kept_headers, refusal, relocated, target, tls
from .port import Port
from .relay import RelayDialler, Unrecorded

_UNDERWAY = 20
"""How many turns of the loop what clients have sent gets to arrive when the proxy closes."""

_MISLED = "the connex proxy serves pages of this machine only, and this one names another host"

_NO_PROXY = ("NO_PROXY", "no_proxy")
_NOT_FOR_THE_SERVER = frozenset({"host", "connection", "upgrade", "origin", "user-agent"})


class Proxy:
    """Where the clients of a test find Connex.

    Args:
        session: The recordings.
        config: What is behind it, and who is asking.
        seed: Of the faults.
        host: Where to listen.
        port: On which port; 0 takes a free one.

    Attributes:
        faults: What goes wrong between it and its clients.
        requests: How many HTTP requests it has had.
    """

    _forward: Forward

    def __init__(
        self, session: CassetteSession, config: ConnexConfig, seed: int = 0, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.faults = Faults(seed)
        self.requests = 0
        self._session = session
        self._config = config
        self._port = Port(self._http, self._websocket, self.faults, host, port, self._relocated)
        self._verified: ssl.SSLContext | None = None
        self._passing = RelayDialler(Unrecorded())
        self._background = BackgroundLoop("connex-proxy")

    def __repr__(self) -> str:
        return f"Proxy({self._session.plan.action}, rest_url={self.rest_url!r}, ws_url={self.ws_url!r})"

    @property
    def frames(self) -> int:
        """How many WebSocket messages it has passed, in both directions."""
        return self._port.frames

    @property
    def rest_url(self) -> str:
        """The URL that takes the place of ``CONNEX_REST_URL``."""
        return f"http://{self._authority}{urlsplit(self._config.rest_url).path}"

    @property
    def ws_url(self) -> str:
        """The URL that takes the place of ``CONNEX_WS_URL``."""
        parts = urlsplit(self._config.ws_url)
        return f"ws://{self._authority}{parts.path}" + (f"?{parts.query}" if parts.query else "")

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
            **{name: _with_loopback(os.environ.get(name, "")) for name in _NO_PROXY},
        }

    def start(self) -> Proxy:
        """Listen.

        Raises:
            ConfigError: The port cannot be had, or ``CONNEX_CA_BUNDLE`` not be read.
        """
        action = self._session.plan.action
        upstreams = self._config.rest_url, self._config.ws_url
        try:
            if action != "replay" and any(url.startswith(("https:", "wss:")) for url in upstreams):
                self._verified = tls()
            self._forward = Forward(self._config.rest_url, action == "record", self._verified)
            self._background.start()
            self._background.run(self._port.start())
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
        for _ in range(_UNDERWAY):
            await asyncio.sleep(0)
        await self._port.stop()
        await self._passing.stop_here()
        await self._session.stop_relays()
        await self._forward.stop()

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def _authority(self) -> str:
        host = f"[{self._port.host}]" if ":" in self._port.host else self._port.host
        return f"{host}:{self._port.number}"

    def _refused(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to what is not served, whatever it asks."""
        if self._misled(request):
            return refusal(421, _MISLED)
        if (verdict := self._session.final_verdict()) is not None:
            return refusal(501, str(verdict))
        return None

    # HTTP

    async def _http(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        if (refused := self._refused(request)) is not None:
            return refused
        if request.method == "CONNECT":
            return refusal(405, f"the connex proxy opens no tunnels: its URL takes the place of {REST_URL}")
        if self._session.plan.action == "replay":
            return await self._play(request)
        if self._session.plan.action == "record":
            return await self._forward.pass_on(request, self._here(request), self._record)
        return await self._forward.pass_on(request, self._here(request))

    async def _play(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = kept_headers(request.headers)
        try:
            body = await request.content.read()
        except BAD_BODY:
            return refusal(400, BROKEN)
        asked = _request(request.method, target(self._config.rest_url, request.raw_path), body, headers)
        found = None
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            found = self._session.play_http(asked)
        if found is None:
            return refusal(501, str(self._session.verdict))
        return self._played(found, request)

    def _played(self, found: dict[str, Any], request: web.BaseRequest) -> web.Response:
        body = found["body"].get("string") or b""
        content = body.encode() if isinstance(body, str) else bytes(body)
        headers: CIMultiDict[str] = CIMultiDict()
        for name, values in found["headers"].items():
            for value in [values] if isinstance(values, str) else values:
                headers.add(name, relocated(name, str(value), self._config.rest_url, self._here(request)))
        kept = CIMultiDict(kept_headers(headers))
        if request.method != "HEAD":
            kept.popall("Content-Length", None)
        status = found["status"]
        return web.Response(status=status["code"], reason=status.get("message") or "", headers=kept, body=content)

    @property
    def _own_origins(self) -> tuple[str, str]:
        return f"http://{self._authority}", f"http://localhost:{self._port.number}"

    def _relocated(self, request: web.BaseRequest, location: str) -> str:
        """Return where a WebSocket handshake is redirected to, as the client is to see it."""
        return relocated("Location", location, self._config.ws_url, self._here(request).replace("http", "ws", 1))

    def _misled(self, request: web.BaseRequest) -> bool:
        """Tell whether a browser was made to take this port for a server of another name, by a page from there."""
        host = urlsplit(self._here(request)).hostname or ""
        from_browser = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
        return from_browser and is_loopback(self._port.host) and not is_loopback(host)

    def _here(self, request: web.BaseRequest) -> str:
        """Return scheme and host of this proxy as the client knows it."""
        return f"http://{request.headers.get('Host') or self._authority}"

    def _record(self, exchange: Exchange) -> None:
        with suppress(ReplayAborted):  # ends a test; the client has its answer
            if not exchange.whole:
                broken = f"the server broke off its answer to {exchange.method}: that cannot be recorded"
                self._session.fail(CassetteError(broken, self._session.plan.http_path))
                return
            request = _request(exchange.method, exchange.url, bytes(exchange.body), exchange.headers)
            headers: dict[str, list[str]] = {}
            for name, value in exchange.answer_headers:
                headers.setdefault(name, []).append(value)
            status = {"code": exchange.status, "message": exchange.reason}
            response = {"status": status, "headers": headers, "body": {"string": bytes(exchange.answer)}}
            self._session.record_http(request, response)

    # WebSocket

    def _websocket(self, request: web.BaseRequest) -> Behaviour | web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        if not self._config.ws_url:
            return refusal(502, "no upstream for WebSocket is configured")
        url = target(self._config.ws_url, request.raw_path)
        dial = _dial(request)
        if dial.get("origin") in self._own_origins:  # the client's own idea of where the server is
            dial["origin"] = _origin(self._config.ws_url)
        if url.startswith("wss:") and self._session.plan.action != "replay":
            dial["ssl"] = self._verified
        if self._session.plan.action == "pass":
            return self._passing.behaviour(url, dial)
        return self._session.behaviour(url, dial)


def _origin(url: str) -> str:
    """Return what a browser calls the origin of the page that a WebSocket server is on."""
    parts = urlsplit(url)
    return f"{'https' if parts.scheme == 'wss' else 'http'}://{parts.netloc}"


def _dial(request: web.BaseRequest) -> dict[str, Any]:
    """Return a handshake as the arguments of ``websockets.connect``."""
    dial: dict[str, Any] = {
        "additional_headers": _dial_headers(request),
        "user_agent_header": request.headers.get("User-Agent"),
        "compression": "deflate" if _offers_deflate(request) else None,
    }
    if origin := request.headers.get("Origin"):
        dial["origin"] = origin
    offered = request.headers.getall("Sec-WebSocket-Protocol", [])
    if names := [name.strip() for line in offered for name in line.split(",") if name.strip()]:
        dial["subprotocols"] = names
    return dial


def _offers_deflate(request: web.BaseRequest) -> bool:
    return any("permessage-deflate" in line for line in request.headers.getall("Sec-WebSocket-Extensions", []))


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


def _with_loopback(listed: str) -> str:
    return listed if "127.0.0.1" in listed else ",".join(filter(None, (listed, "127.0.0.1,localhost")))
