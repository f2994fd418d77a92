"""Passing HTTP requests on to the server behind the proxy, and its answers back, as they come.

Each connection of a client has one to the server, which is kept as long as the client's: pooling would let one client
meet what another left behind. Nothing is kept here of what passes; who wants to know of it is an :class:`Observer`.
Nothing that was asked once arrives twice.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urljoin, urlsplit

import h11

from ..cassette.exchange import Ending, values
from ..config import origin
from ..errors import ConfigError
from .asking import Asking, dial
from .http import Answering, Asked, BadBody, refusal
from .messages import Headers, origin_form, tokens

CA_BUNDLE = "CONNEX_CA_BUNDLE"
"""The variable that names a file with other certificate authorities than the system's."""

_OF_THE_CONNECTION = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "upgrade",
        "expect",
    }
)
_LOCATIONS = frozenset({"location", "content-location"})
_ABSOLUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*(?P<path>.*)", re.DOTALL)
_PORTS = {"http": 80, "https": 443}


class Observer(Protocol):
    """Is told what passes. Called on the loop of the port, in this order; ``ended`` is the last, and comes always, or
    ``withdrawn`` in its place.

    The body of a request may still come while it is answered. What is told of an answer is told before the client can
    have it; only where the answer came before its request was whole, the client has it before ``ended``.
    """

    def asked(self, method: str, url: str, headers: Headers) -> None:
        """A request has come; the URL is that on the server."""

    def sent(self, data: bytes) -> None:
        """A piece of its body has come."""

    def answered(self, status: int, reason: str, headers: Headers) -> None:
        """An answer begins. Only its end is told of what the server says before it (1xx)."""

    def piece(self, data: bytes) -> None:
        """A piece of its body has come."""

    def ended(self, how: Ending, error: OSError | None) -> None:
        """Nothing more will come of this request; ``error`` is what broke its connection."""

    def withdrawn(self) -> None:
        """The client has left before its request was whole, and before it had an answer: it has asked nothing."""


class Unobserved:
    """An observer that does not look."""

    def asked(self, method: str, url: str, headers: Headers) -> None:
        """Do nothing."""

    def sent(self, data: bytes) -> None:
        """Do nothing."""

    def answered(self, status: int, reason: str, headers: Headers) -> None:
        """Do nothing."""

    def piece(self, data: bytes) -> None:
        """Do nothing."""

    def ended(self, how: Ending, error: OSError | None) -> None:
        """Do nothing."""

    def withdrawn(self) -> None:
        """Do nothing."""


class Forward:
    """Passes requests on to ``upstream``, each within the event loop of its client.

    Args:
        upstream: Base URL of the server.
        readable: Whether answers must come in an encoding that can be searched for secrets.
        verified: How the server's certificate is verified; None where it speaks no TLS.
        note: Told in words why a client got no answer, without what was asked or said: either may be secret.
    """

    def __init__(
        self,
        upstream: str,
        readable: bool = False,
        verified: ssl.SSLContext | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._upstream = upstream
        self._readable = readable
        self._verified = verified
        self._note = note
        self._servers: dict[asyncio.Future[None], Asking] = {}

    def stop(self) -> None:
        """Close the connections to the server that are on the running loop; others serve clients of theirs."""
        here = asyncio.get_running_loop()
        for gone, server in list(self._servers.items()):
            if gone.get_loop() is here:
                server.close()

    async def pass_on(self, asked: Asked, answering: Answering, here: str, observer: Observer | None = None) -> None:
        """Pass on a request, and its answer as it comes.

        A client whose server cannot be reached, or resets the connection, has its own connection reset; one whose
        server closes the connection has its own closed.

        Args:
            asked: By the client.
            answering: The answer that the client gets.
            here: Where redirections that stay on the server lead: scheme and host of the proxy.
            observer: Is told what passes.
        """
        if not self._upstream:
            answering.refuse(refusal(502, "no upstream for REST is configured"))
            return
        headers = self._headers(asked)
        passage = _Passage(asked, answering, self._upstream, here, observer or Unobserved(), self._note)
        passage.begin(target(self._upstream, asked.target), headers)
        try:
            server = await self._server(asked)
        except OSError as exc:
            passage.unreachable(exc)
            return
        except asyncio.CancelledError:
            passage.leave()
            raise
        server.ask(asked.method, origin_form(asked.target), headers)
        await passage.run(server)

    async def _server(self, asked: Asked) -> Asking:
        """Return the connection that belongs to the client's; a new one where that has ended meanwhile."""
        server = self._servers.pop(asked.gone, None)
        if server is not None and server.is_free:
            self._servers[asked.gone] = server
            return server
        if server is None:
            asked.gone.add_done_callback(self._close)
        else:
            server.close()
        parts = urlsplit(self._upstream)
        server = await dial(parts.hostname or "", parts.port or _PORTS[parts.scheme], self._verified)
        self._servers[asked.gone] = server
        return server

    def _close(self, gone: asyncio.Future[None]) -> None:
        server = self._servers.pop(gone, None)
        if server is not None:
            server.close()

    def _headers(self, asked: Asked) -> Headers:
        """Return the headers that the server gets: those of the client, but for those of its connection."""
        host = _host(self._upstream)
        kept = _without(asked.headers, _OF_THE_CONNECTION)
        headers = [(name, host if name.lower() == "host" else value) for name, value in kept]
        if not values(headers, "host"):
            headers.insert(0, ("Host", host))
        return [(name, _readable(name, value)) for name, value in headers] if self._readable else headers


class _Passage:
    """One request on its way to the server, and its answer on its way back."""

    def __init__(
        self,
        asked: Asked,
        answering: Answering,
        upstream: str,
        here: str,
        observer: Observer,
        note: Callable[[str], None],
    ) -> None:
        self._asked = asked
        self._answering = answering
        self._upstream = upstream
        self._here = here
        self._observer = observer
        self._note = note
        self._sending: asyncio.Task[None] | None = None
        self._heard = self._is_whole = self._has_ended = False

    def begin(self, url: str, headers: Headers) -> None:
        """Tell that something is asked."""
        self._observer.asked(self._asked.method, url, kept_headers(headers))

    def end(self, how: Ending, error: OSError | None = None) -> None:
        """Tell how it ended, once."""
        if not self._has_ended:
            self._has_ended = True
            self._observer.ended(how, error)

    def leave(self) -> None:
        """Tell how it ended for a client that has left."""
        if self._asked.is_whole or self._answering.began:
            self.end("whole" if self._is_whole else "left")
        elif not self._has_ended:
            self._has_ended = True
            self._observer.withdrawn()

    def unreachable(self, exc: OSError) -> None:
        """Let the client see that there is no server."""
        self.end("refused", exc)
        if isinstance(exc, ssl.SSLCertVerificationError):
            reason = (exc.verify_message or type(exc).__name__).replace(
                f"'{urlsplit(self._upstream).hostname}'", "it"
            )
            text = f"has a certificate that is not trusted: {reason}. {CA_BUNDLE} names a file of other authorities"
            self._answering.refuse(refusal(502, f"the upstream of the connex proxy {text}"))
            return
        self._say(f"cannot be reached: {_problem(exc)}")
        self._answering.reset()

    async def run(self, server: Asking) -> None:
        """Pass on the body, and the answer."""
        if self._asked.has_body:
            self._sending = asyncio.get_running_loop().create_task(self._send(server))
        try:
            await self._answer(server)
            if self._sending is not None:
                await self._sending
            self.end("whole")
        except OSError as exc:
            self._broken("reset", exc)
        except h11.RemoteProtocolError:
            self._heard = server.heard
            self._broken("unanswered", None)
        except (asyncio.CancelledError, BadBody):
            self.leave()
            raise
        finally:
            if self._sending is not None:
                self._sending.cancel()
            if not (self._is_whole and server.is_free):
                server.close()

    async def _send(self, server: Asking) -> None:
        """Pass on the body of the request."""
        try:
            async for piece in self._asked.pieces():
                self._observer.sent(piece)
                await server.write(piece)
            await server.end(self._asked.trailers)
        except BadBody as exc:
            server.fail(exc)
        except ConnectionError:
            pass  # the client has left, which ends the whole passage

    async def _answer(self, server: Asking) -> None:
        """Pass on the answer."""
        while (head := await server.head()).status < 200:
            if head.status != 100:  # the port has said that itself, where somebody waited for it
                headers = _without(head.headers, _OF_THE_CONNECTION)
                await self._answering.informational(head.status, head.reason, headers)
        headers = kept_headers(head.headers)
        self._observer.answered(head.status, head.reason, headers)
        self._whole_if(head.is_whole)
        ours = [(name, relocated(name, value, self._upstream, self._here)) for name, value in headers]
        await self._answering.head(head.status, head.reason, ours)
        trailers: Headers = []
        while not self._is_whole:
            piece = await server.piece()
            if piece.data:
                self._observer.piece(piece.data)
            self._whole_if(piece.is_last)
            trailers = piece.trailers
            await self._answering.write(piece.data)
        await self._answering.end(trailers)

    def _whole_if(self, is_last: bool) -> None:
        self._is_whole = is_last
        if is_last and (self._sending is None or self._sending.done()):
            self.end("whole")

    def _broken(self, how: Ending, error: OSError | None) -> None:
        """Let the client see how the server ended the connection."""
        if self._answering.began:
            self.end("cut", error)
            self._say("broke off its answer")
        else:
            self.end(how, error)
            if how == "unanswered" and self._heard:
                self._say("answered with what is not HTTP")
            else:
                self._say("gave no answer" + ("" if error is None else f": {type(error).__name__}"))
        if error is None:
            self._answering.cut()
        else:
            self._answering.reset()

    def _say(self, what: str) -> None:
        self._note(f"the upstream of the connex proxy {what}")


def relocated(name: str, value: str, upstream: str, here: str) -> str:
    """Return the value of a header; a redirection that stays on the ``upstream`` stays ``here``."""
    if name.lower() not in _LOCATIONS or (match := _ABSOLUTE.fullmatch(value)) is None:
        return value
    try:
        stays = origin(urljoin(upstream, value)) == origin(upstream)
    except ValueError:
        return value
    path = match["path"]
    return f"{here}{'' if path.startswith('/') else '/'}{path}" if stays else value


def target(upstream: str, written: str) -> str:
    """Return the URL behind the target of a request on the server of ``upstream``."""
    parts = urlsplit(upstream)
    path = origin_form(written)
    return f"{parts.scheme}://{parts.netloc}{path if path.startswith('/') else f'/{path}'}"


def kept_headers(headers: Headers) -> Headers:
    """Return the headers of a message that are not about the connection it came on, nor about how it is framed."""
    return _without(headers, _OF_THE_CONNECTION | {"host", "transfer-encoding"})


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


def _without(headers: Headers, names: frozenset[str]) -> Headers:
    """Leave out what is called so, and what ``Connection`` lists."""
    left_out = (names | tokens(headers, "connection")) - ({"content-length", "transfer-encoding"} - names)
    return [(name, value) for name, value in headers if name.lower() not in left_out]


def _host(upstream: str) -> str:
    """Return what ``Host`` says of the server."""
    parts = urlsplit(upstream)
    return parts.netloc.removesuffix(f":{_PORTS[parts.scheme]}")


def _readable(name: str, value: str) -> str:
    """Return a header so that the answer comes in an encoding that can be searched for secrets."""
    if name.lower() != "accept-encoding":
        return value
    known = [coding.strip() for coding in value.split(",") if coding.strip().split(";")[0] in ("gzip", "deflate")]
    return ", ".join(known) or "identity"


def _problem(error: OSError) -> str:
    """Name a problem without naming the host, as the texts of the system would."""
    if isinstance(error, ssl.SSLError):
        return f"TLS fails with {error.reason}"
    known = error.strerror if isinstance(error, socket.gaierror) else error.errno and os.strerror(error.errno)
    return known or type(error).__name__
