"""A port in a background thread that stands where Connex would, and answers as the run wants it.

Played: from the recordings of the test, HTTP and WebSocket, the very same that its own process uses. Recorded or
passed on: by the server of the configuration.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from vcr.request import Request

from ..background import BackgroundLoop
from ..cassette.session import CassetteSession
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig
from ..errors import CassetteError, ReplayAborted
from ..faults import Faults
from .endpoint import Behaviour
from .forward import End, Forward, kept_headers, relocated, target, tls
from .http import Answering, Asked, Refusal, refusal
from .messages import Headers, values
from .port import Port
from .relay import RelayDialler, Unrecorded

_UNDERWAY = 20
"""How many turns of the loop what clients have sent gets to arrive when the proxy closes."""

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
        notes: Why clients got no answer, in words.
    """

    _forward: Forward

    def __init__(
        self, session: CassetteSession, config: ConnexConfig, seed: int = 0, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.faults = Faults(seed)
        self.requests = 0
        self.notes: list[str] = []
        self._session = session
        self._config = config
        origins = {_origin(url) for url in (config.rest_url, config.ws_url) if url}
        self._port = Port(self._http, self._websocket, self.faults, host, port, self._relocated, origins)
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
            self._forward = Forward(self._config.rest_url, action == "record", self._verified, self.notes.append)
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
        self._passing.stop()
        await self._forward.stop()

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @property
    def _authority(self) -> str:
        host = f"[{self._port.host}]" if ":" in self._port.host else self._port.host
        return f"{host}:{self._port.number}"

    # HTTP

    async def _http(self, asked: Asked, answering: Answering) -> None:
        self.requests += 1
        if (verdict := self._session.final_verdict()) is not None:
            answering.refuse(refusal(501, str(verdict)))
        elif self._session.plan.action == "replay":
            await self._play(asked, answering)
        elif self._session.plan.action == "record":
            await self._forward.pass_on(asked, answering, self._here(asked), _Kept(self._record))
        else:
            await self._forward.pass_on(asked, answering, self._here(asked))

    async def _play(self, asked: Asked, answering: Answering) -> None:
        body = await asked.read()
        url = target(self._config.rest_url, asked.target)
        found = None
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            found = self._session.play_http(_request(asked.method, url, body, kept_headers(asked.headers)))
        if found is None:
            answering.refuse(refusal(501, str(self._session.verdict)))
        else:
            await self._played(found, asked, answering)

    async def _played(self, found: dict[str, Any], asked: Asked, answering: Answering) -> None:
        body = found["body"].get("string") or b""
        headers: Headers = []
        for name, given in found["headers"].items():
            for value in [given] if isinstance(given, str) else given:
                headers.append((name, relocated(name, str(value), self._config.rest_url, self._here(asked))))
        headers = kept_headers(headers)
        if asked.method != "HEAD":
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        status = found["status"]
        content = body.encode() if isinstance(body, str) else bytes(body)
        await answering.whole(status["code"], status.get("message") or "", headers, content)

    @property
    def _own_origins(self) -> tuple[str, str]:
        return f"http://{self._authority}", f"http://localhost:{self._port.number}"

    def _relocated(self, asked: Asked, location: str) -> str:
        """Return where a WebSocket handshake is redirected to, as the client is to see it."""
        return relocated("Location", location, self._config.ws_url, self._here(asked).replace("http", "ws", 1))

    def _here(self, asked: Asked) -> str:
        """Return scheme and host of this proxy as the client knows it."""
        return f"http://{asked.value('host') or self._authority}"

    def _record(self, kept: _Kept, how: End) -> None:
        with suppress(ReplayAborted):  # ends a test; the client has its answer
            if how == "whole":
                self._session.record_http(kept.request(), kept.response())
            elif how != "left":
                broken = f"the server {_ENDED[how]} {kept.method}: that cannot be recorded"
                self._session.fail(CassetteError(broken, self._session.plan.http_path))

    # WebSocket

    def _websocket(self, asked: Asked) -> Behaviour | Refusal:
        if (verdict := self._session.final_verdict()) is not None:
            return refusal(501, str(verdict))
        if not self._config.ws_url:
            return refusal(502, "no upstream for WebSocket is configured")
        url = target(self._config.ws_url, asked.target)
        dial = _dial(asked) | {"show_redirects": True}
        if dial.get("origin") in self._own_origins:  # the client's own idea of where the server is
            dial["origin"] = _origin(self._config.ws_url)
        if url.startswith("wss:") and self._session.plan.action != "replay":
            dial["ssl"] = self._verified
        if self._session.plan.action == "pass":
            return self._passing.behaviour(url, dial)
        return self._session.behaviour(url, dial)


_ENDED: dict[End, str] = {
    "cut": "broke off its answer to",
    "reset": "reset the connection of",
    "refused": "could not be reached for",
    "unanswered": "gave no answer to",
}


class _Kept:
    """A request that is passed on, and its answer, for a recording; bodies as they were on the wire."""

    def __init__(self, finished: Callable[[_Kept, End], None]) -> None:
        self.method = ""
        self._finished = finished
        self._body = bytearray()
        self._answer = bytearray()

    def asked(self, method: str, url: str, headers: Headers) -> None:
        """Keep the head of the request."""
        self.method, self._url, self._headers = method, url, headers

    def sent(self, data: bytes) -> None:
        """Keep a piece of its body."""
        self._body += data

    def answered(self, status: int, reason: str, headers: Headers) -> None:
        """Keep the head of the answer."""
        self._status = {"code": status, "message": reason}
        self._answer_headers: dict[str, list[str]] = {}
        for name, value in headers:
            self._answer_headers.setdefault(name, []).append(value)

    def piece(self, data: bytes) -> None:
        """Keep a piece of its body."""
        self._answer += data

    def ended(self, how: End, error: OSError | None) -> None:
        """Pass on what was kept."""
        self._finished(self, how)

    def request(self) -> Request:
        """Return the request as VCR has it."""
        return _request(self.method, self._url, bytes(self._body), self._headers)

    def response(self) -> dict[str, Any]:
        """Return the answer as VCR has it."""
        body = {"string": bytes(self._answer)}
        return {"status": self._status, "headers": self._answer_headers, "body": body}


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
