"""Passing HTTP requests on to the server behind the proxy, and its answers back."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.http import HttpProcessingError
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
BAD_BODY = (web.RequestPayloadError, HttpProcessingError)
"""What reading the body of a request raises where that is chunked badly."""

BROKEN = "the body of this request cannot be read to its end"
"""What a client hears whose request breaks off, or is chunked badly."""

_WRITTEN_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_LOCATIONS = frozenset({"location", "content-location"})
_ABSOLUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*(?P<path>.*)", re.DOTALL)
_PIECE = 65_536

_LONGEST = 65_536
"""So many bytes a line of the head of an answer may have, as elsewhere in Python."""

_IDLE = 4.0
"""Seconds that a connection to the server is kept: servers keep theirs longer, so that none ends under a request."""

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
        verified: How the server's certificate is verified; None where there is none.
    """

    def __init__(self, upstream: str, keep: bool, verified: ssl.SSLContext | None = None) -> None:
        self._upstream = upstream
        self._keep = keep
        self._verified = verified
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close the connections to the server."""
        if self._session is not None:
            await self._session.close()

    async def pass_on(
        self, request: web.BaseRequest, here: str, finished: Callable[[Exchange], None] = lambda exchange: None
    ) -> web.StreamResponse:
        """Pass on a request, and its answer as it comes.

        Args:
            request: Of the client.
            here: Where redirections that stay on the server lead: scheme and host of the proxy.
            finished: Called before the client has the end of the answer; not where the client gives up.
        """
        if not self._upstream:
            return refusal(502, "no upstream for REST is configured")
        headers = kept_headers(request.headers)
        if self._keep:
            headers = [(name, _readable(name, value)) for name, value in headers]
        exchange = Exchange(request.method, target(self._upstream, request.raw_path), headers)
        try:
            response = await self._ask(request, exchange)
        except (TimeoutError, aiohttp.ClientError, OSError, *BAD_BODY) as exc:
            return self._unanswered(request, exchange, exc, finished)
        async with response:
            return await self._answer(request, here, response, exchange, finished)

    async def _ask(self, request: web.BaseRequest, exchange: Exchange) -> aiohttp.ClientResponse:
        # VCR puts its own function in the place of this one while a test runs, which would record the same again.
        ask: Callable[..., Any] = inspect.unwrap(aiohttp.ClientSession._request)
        has_body = request.can_read_body
        length = request.content_length
        if has_body and self._keep:  # whole, because a server may answer before it has read all of it
            exchange.body += await request.content.read()
        headers = CIMultiDict(exchange.headers)
        if has_body and length is not None:
            headers["Content-Length"] = str(length)
        response: aiohttp.ClientResponse = await ask(
            self._connections(),
            exchange.method,
            URL(f"{exchange.url.partition('#')[0]}#{_written(request.raw_path)}", encoded=True),
            headers=headers,
            data=self._body(request, exchange) if has_body else None,
            allow_redirects=False,
            skip_auto_headers=_WRITTEN_BY_AIOHTTP,
        )
        return response

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._verified or True, limit=0, keepalive_timeout=_IDLE),
                request_class=_Asking,
                response_class=_Answered,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                max_line_size=_LONGEST,
                max_field_size=_LONGEST,
            )
        return self._session

    async def _body(self, request: web.BaseRequest, exchange: Exchange) -> AsyncIterator[bytes]:
        if self._keep:
            for start in range(0, len(exchange.body), _PIECE):
                yield bytes(exchange.body[start : start + _PIECE])
            return
        try:
            async for piece in request.content.iter_chunked(_PIECE):
                yield piece
        except asyncio.CancelledError as exc:
            if request.content.exception() is None:
                raise
            raise aiohttp.ClientPayloadError(BROKEN) from exc  # or older versions of aiohttp say that this is all

    def _unanswered(
        self, request: web.BaseRequest, exchange: Exchange, exc: Exception, finished: Callable[[Exchange], None]
    ) -> web.Response:
        if request.content.exception() is not None:  # it is the client's own fault
            return refusal(400, BROKEN)
        host = urlsplit(self._upstream).hostname
        text = f"the upstream of the connex proxy {_said(exc)}".replace(f"'{host}'", "it")
        exchange.status, exchange.reason = 502, "Bad Gateway"
        exchange.answer_headers = [("Content-Type", "text/plain; charset=utf-8")]
        exchange.answer += f"{text}\n".encode()
        exchange.whole = True
        finished(exchange)
        return refusal(502, text)

    async def _answer(
        self,
        request: web.BaseRequest,
        here: str,
        response: aiohttp.ClientResponse,
        exchange: Exchange,
        finished: Callable[[Exchange], None],
    ) -> web.StreamResponse:
        exchange.status, exchange.reason = response.status, as_text(response.reason or "")
        exchange.answer_headers = kept_headers(response.headers)
        ours = CIMultiDict(
            (name, relocated(name, value, self._upstream, here)) for name, value in exchange.answer_headers
        )
        answer = web.StreamResponse(status=exchange.status, reason=exchange.reason, headers=ours)
        with suppress(ConnectionError):  # the client has gone
            await self._copy(request, response.content, answer, exchange, finished)
        return answer

    async def _copy(
        self,
        request: web.BaseRequest,
        content: aiohttp.StreamReader,
        answer: web.StreamResponse,
        exchange: Exchange,
        finished: Callable[[Exchange], None],
    ) -> None:
        """Copy an answer as it comes; ``finished`` knows of the last piece before the client does."""
        piece = b""
        while not exchange.whole:
            exchange.whole = content.at_eof()
            if exchange.whole:
                finished(exchange)
            if not answer.prepared:
                await answer.prepare(request)
            if piece:
                await answer.write(piece)
            if exchange.whole:
                return
            try:
                piece = await content.read(_PIECE)
            except (TimeoutError, aiohttp.ClientError, OSError):
                finished(exchange)
                if request.transport is not None:
                    request.transport.close()  # as the server did: before the end
                return
            if self._keep:
                exchange.answer += piece


class _Asking(aiohttp.ClientRequest):
    """Asks for the very target in the fragment of its URL: of ``/a?`` and ``*``, a URL keeps less."""

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        """Send the head of the request."""
        url, self.url = self.url, cast(URL, _Target(self.url, self.original_url.raw_fragment))
        try:
            return await super().send(conn)
        finally:
            self.url = url


class _Answered(aiohttp.ClientResponse):
    """Fails in a way that aiohttp does not try again: what was asked once must not arrive twice."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """Read the head of the answer."""
        try:
            return await super().start(connection)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
            raise aiohttp.ClientConnectionError(str(exc)) from exc


class _Target:
    def __init__(self, url: URL, written: str) -> None:
        self._url = url
        self.raw_path = self.raw_path_qs = written
        self.raw_query_string = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._url, name)


def relocated(name: str, value: str, upstream: str, here: str) -> str:
    """Return the value of a header; a redirection that stays on the ``upstream`` stays ``here``."""
    match = _ABSOLUTE.fullmatch(value)
    if match is None or name.lower() not in _LOCATIONS:
        return value
    try:
        stays = origin(urljoin(upstream, value)) == origin(upstream)
    except ValueError:
        return value
    path = match["path"]
    return f"{here}{'' if path.startswith('/') else '/'}{path}" if stays else value


def target(upstream: str, raw_path: str) -> str:
    """Return the URL behind ``raw_path``, the target of a request, on the server of ``upstream``."""
    parts = urlsplit(upstream)
    written = _written(raw_path)
    return f"{parts.scheme}://{parts.netloc}{written if written.startswith('/') else f'/{written}'}"


def _written(raw_path: str) -> str:
    """Return the target of a request as a server gets it, also where the client takes this for a proxy."""
    if raw_path.startswith("/") or "://" not in raw_path:
        return raw_path
    return "/" + raw_path.partition("://")[2].partition("/")[2]


def kept_headers(headers: Mapping[str, str]) -> Headers:
    """Return the headers that are not about the connection they came on; repeated ones stay repeated."""
    connection = [value for name, value in headers.items() if name.lower() == "connection"]
    ours = _OF_THE_CONNECTION.union(name.strip().lower() for name in ",".join(connection).split(","))
    # A name is a subclass of str, which a recording cannot hold.
    return [(str(name), as_text(value)) for name, value in headers.items() if name.lower() not in ours]


def as_text(value: str) -> str:
    """Return a header that can be written again: what is not UTF-8 is Latin-1, and goes on as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def refusal(status: int, text: str) -> web.Response:
    """Return an answer of the proxy's own."""
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


def _said(exc: Exception) -> str:
    """Say why there is no answer, without what the client asked or the server said: either may be secret."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        reason = getattr(exc.certificate_error, "verify_message", "") or type(exc.certificate_error).__name__
        return f"has a certificate that is not trusted: {reason}. {CA_BUNDLE} names a file of other authorities"
    if isinstance(exc, aiohttp.ClientConnectorError):
        return f"cannot be reached: {_problem(exc.os_error)}"
    if isinstance(exc, aiohttp.ClientResponseError):
        return "answered with what is not HTTP"
    return f"gave no answer: {type(exc.__cause__ or exc).__name__}"


def _problem(error: OSError) -> str:
    """Name a problem without naming the host, as the texts of the system would."""
    if isinstance(error, ssl.SSLError):
        return f"TLS fails with {error.reason}"
    known = error.strerror if isinstance(error, socket.gaierror) else error.errno and os.strerror(error.errno)
    return known or type(error).__name__
