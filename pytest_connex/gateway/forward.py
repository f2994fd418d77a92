"""Passing HTTP requests on to the server behind the gateway, and its answers back."""

from __future__ import annotations

import inspect
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from ..config import origin
from ..errors import ConfigError

CA_BUNDLE = "CONNEX_CA_BUNDLE"
"""The variable that names a file with other certificate authorities than the system's."""

_OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    }
)
_WRITTEN_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_LOCATIONS = frozenset({"location", "content-location"})
_PIECE = 65_536

Headers = list[tuple[str, str]]


@dataclass
class Exchange:
    """A request that was passed on, and its answer, for a recording; bodies as they were on the wire.

    Attributes:
        whole: Whether the answer came to its end.
    """

    method: str
    url: str
    headers: Headers
    body: bytearray = field(default_factory=bytearray)
    status: int = 0
    reason: str = ""
    answer_headers: Headers = field(default_factory=list)
    answer: bytearray = field(default_factory=bytearray)
    whole: bool = False


class Forward:
    """Passes requests on to ``upstream``, within the running event loop.

    Args:
        upstream: Base URL of the server.
        keep: Whether what passes is to be kept, for a recording.
    """

    def __init__(self, upstream: str, keep: bool) -> None:
        self._upstream = upstream
        self._keep = keep
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close the connections to the server."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(
        self, request: web.BaseRequest, finished: Callable[[Exchange], None] = lambda exchange: None
    ) -> web.StreamResponse:
        """Pass on a request, and its answer as it comes.

        Args:
            request: Of the client.
            finished: Called before the client has the end of the answer.
        """
        if not self._upstream:
            return refusal(502, "no upstream for REST is configured")
        headers = kept_headers(request.headers.items(), request.headers.get("Connection", ""))
        if self._keep:
            headers = [(name, _readable(name, value)) for name, value in headers]
        exchange = Exchange(request.method, target(self._upstream, request.raw_path), headers)
        try:
            response = await self._ask(request, exchange)
        except (TimeoutError, aiohttp.ClientError, OSError) as exc:
            text = f"the upstream of the connex gateway cannot be reached: {_said(exc)}"
            exchange.status, exchange.reason = 502, "Bad Gateway"
            exchange.answer_headers = [("Content-Type", "text/plain; charset=utf-8")]
            exchange.answer += text.encode()
            exchange.whole = True
            finished(exchange)
            return refusal(502, text)
        async with response:
            return await self._answer(request, response, exchange, finished)

    async def _ask(self, request: web.BaseRequest, exchange: Exchange) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=tls(), limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
            )
        # VCR puts its own function in the place of this one while a test runs, which would record the same again.
        ask: Callable[..., Any] = inspect.unwrap(aiohttp.ClientSession._request)
        has_body = request.can_read_body
        length = request.content_length
        headers = CIMultiDict(exchange.headers)
        if has_body and length is not None:
            headers["Content-Length"] = str(length)
        response: aiohttp.ClientResponse = await ask(
            self._session,
            exchange.method,
            URL(exchange.url, encoded=True),
            headers=headers,
            data=self._body(request, exchange) if has_body else None,
            allow_redirects=False,
            skip_auto_headers=_WRITTEN_BY_AIOHTTP,
        )
        return response

    async def _body(self, request: web.BaseRequest, exchange: Exchange) -> AsyncIterator[bytes]:
        async for piece in request.content.iter_chunked(_PIECE):
            if self._keep:
                exchange.body += piece
            yield piece

    async def _answer(
        self,
        request: web.BaseRequest,
        response: aiohttp.ClientResponse,
        exchange: Exchange,
        finished: Callable[[Exchange], None],
    ) -> web.StreamResponse:
        headers = kept_headers(response.headers.items(), response.headers.get("Connection", ""))
        exchange.status, exchange.reason = response.status, response.reason or ""
        exchange.answer_headers = headers
        ours = CIMultiDict((name, self._rewritten(name, value, request)) for name, value in headers)
        answer = web.StreamResponse(status=response.status, reason=response.reason, headers=ours)
        try:
            await answer.prepare(request)
            async for piece in response.content.iter_chunked(_PIECE):
                if self._keep:
                    exchange.answer += piece
                await answer.write(piece)
        except aiohttp.ClientError:
            finished(exchange)
            if request.transport is not None:
                request.transport.close()  # as the server did: before the end
            return answer
        exchange.whole = True
        finished(exchange)
        await answer.write_eof()
        return answer

    def _rewritten(self, name: str, value: str, request: web.BaseRequest) -> str:
        return relocated(name, value, self._upstream, f"http://{request.host}")


def relocated(name: str, value: str, upstream: str, here: str) -> str:
    """Return the value of a header; a redirection that stays on the ``upstream`` stays ``here``."""
    if name.lower() in _LOCATIONS and "://" in value and origin(value) == origin(upstream):
        parts = urlsplit(value)
        return here + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return value


def target(upstream: str, raw_path: str) -> str:
    """Return the URL behind ``raw_path``, the target of a request, on the server of ``upstream``."""
    parts = urlsplit(upstream)
    if not raw_path.startswith("/"):  # as to a proxy
        rest = raw_path.partition("://")[2].partition("/")[2]
        raw_path = f"/{rest}"
    return f"{parts.scheme}://{parts.netloc}{raw_path}"


def kept_headers(headers: Iterable[tuple[str, str]], connection: str) -> Headers:
    """Return the headers that are not about the connection they came on; repeated ones stay repeated."""
    named = {name.strip().lower() for name in connection.split(",")}
    return [(str(name), str(value)) for name, value in headers if name.lower() not in _OF_THE_CONNECTION | named]


def refusal(status: int, text: str) -> web.Response:
    """Return an answer of the gateway's own."""
    return web.Response(status=status, text=f"{text}\n", content_type="text/plain")


def tls() -> ssl.SSLContext:
    """Return how a server is verified: by the system's authorities, or those that ``CONNEX_CA_BUNDLE`` names.

    Raises:
        ConfigError: The file cannot be read.
    """
    bundle = os.environ.get(CA_BUNDLE) or None
    try:
        return ssl.create_default_context(cafile=bundle)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{CA_BUNDLE} names {bundle!r}, which cannot be read as certificates: {exc}") from exc


def _readable(name: str, value: str) -> str:
    """Return a header so that the answer comes in an encoding that can be searched for secrets."""
    if name.lower() != "accept-encoding":
        return value
    known = [coding.strip() for coding in value.split(",") if coding.strip().split(";")[0] in ("gzip", "deflate")]
    return ", ".join(known) or "identity"


def _said(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
