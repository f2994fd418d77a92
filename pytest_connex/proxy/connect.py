"""The stand-in for ``websockets.connect``, for code whose URL is fixed: the same call, at the proxy."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import InvalidStatus, SecurityError
from websockets.uri import parse_uri

from ..clock import Timer
from ..config import origin
from .desk import Address
from .endpoint import Behaviour
from .upstream import TRANSPORT_OPTIONS

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})

_MOMENT = 0.001
"""Seconds between two looks whether a client that closes reads."""


class Announced(Protocol):
    """What dials of this process are announced to: a :class:`~pytest_connex.proxy.proxy.Proxy`."""

    @property
    def address(self) -> Address:
        """Host and port where WebSockets are dialled."""

    def announce(self, dialler: Address, url: str, dial: dict[str, Any]) -> None:
        """Know what the connection from the address ``dialler`` means: ``url``, with these arguments."""

    def behaviour(self, dialler: Address) -> Behaviour | None:
        """Return what answers the connection from there; each is asked for once."""


def connector(proxy: Announced, checked: Callable[[], Awaitable[None]]) -> type[websockets_connect]:
    """Return a subclass of ``websockets.connect`` whose dials arrive at ``proxy``, whatever their URL.

    It is called, awaited, entered and iterated like the original, and returns the original's connections.

    Args:
        proxy: Where they arrive.
        checked: Awaited before each dial; it may hold up a test that is to end.
    """

    class ConnexConnect(websockets_connect):
        def __init__(self, uri: str, **kwargs: Any) -> None:
            super().__init__(uri, **kwargs)
            self._connex_dial = (uri, kwargs)

        def __await__(self) -> Generator[Any, None, ClientConnection]:
            return self._dialled().__await__()

        async def _dialled(self) -> ClientConnection:
            uri, kwargs = self._connex_dial
            await checked()
            # Leaving ``async with`` closes this attribute in releases of websockets before 17.
            self.connection = await _dial(proxy, uri, kwargs)
            return self.connection

    return ConnexConnect


async def _dial(proxy: Announced, url: str, kwargs: dict[str, Any]) -> ClientConnection:
    for _ in range(MAX_REDIRECTS):
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, proxy.address)
            ours = sock.getsockname()
            proxy.announce(ours, url, kwargs)
            return await _connected(proxy, ours, sock, url, kwargs)
        except ValueError as exc:
            location = redirect_of(exc.__cause__)
            sock.close()
            if location is None:
                raise
            url, moved = urljoin(url, location), url
            if origin(url) != origin(moved):
                kwargs = without_credentials(kwargs)
        except BaseException:
            sock.close()
            raise
    raise SecurityError(f"more than {MAX_REDIRECTS} redirects")


async def _connected(
    proxy: Announced, ours: Address, sock: socket.socket, url: str, kwargs: dict[str, Any]
) -> ClientConnection:
    local = {name: value for name, value in kwargs.items() if not name.startswith(TRANSPORT_OPTIONS)}
    made = _Reading.made_by(kwargs.get("create_connection"))
    try:
        connection = await websockets_connect(at(proxy, url), sock=sock, **(local | {"create_connection": made}))
    except Exception as exc:
        behaviour = proxy.behaviour(ours)
        if behaviour is None or behaviour.refusal is None:
            raise
        raise behaviour.refusal from exc
    behaviour = proxy.behaviour(ours)
    if behaviour is not None and behaviour.on_read is not None:
        connection.recv = _counted(connection.recv, behaviour.on_read)  # type: ignore[assignment,method-assign]
    return connection


def _counted(recv: Callable[..., Awaitable[Any]], on_read: Callable[[], None]) -> Callable[..., Awaitable[Any]]:
    """Return ``recv`` that tells of every message it hands out."""

    async def counted(*args: Any, **options: Any) -> Any:
        message = await recv(*args, **options)
        on_read()
        return message

    return counted


class _Reading(ClientConnection):
    """A connection that reads on while it closes."""

    @staticmethod
    def made_by(base: object) -> type[ClientConnection]:
        """Return the class of connections that does, below the one that the client asks for."""
        parent = base if isinstance(base, type) else ClientConnection
        return _Reading if parent is ClientConnection else type("Reading", (_Reading, parent), {})

    async def close(self, *args: Any, **options: Any) -> None:
        """Close the connection."""
        self._keep_reading()
        await super().close(*args, **options)

    def _keep_reading(self) -> None:
        """Read on: a client with full buffers does not, and waits ten seconds for the close that comes behind them.

        A replay fills them, because it delivers at once what came little by little.
        """
        if not self.transport.is_closing():
            self.transport.resume_reading()
            Timer(asyncio.get_running_loop(), _MOMENT, self._keep_reading)


def redirect_of(exc: BaseException | None) -> str | None:
    """Return where a failed dial is redirected to, or None."""
    if isinstance(exc, InvalidStatus) and exc.response.status_code in _REDIRECTS:
        return exc.response.headers.get("Location")
    return None


def without_credentials(dial: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a dial for another origin: the client's key may be in any of its headers."""
    return {**dial, "additional_headers": None}


def at(proxy: Announced, url: str) -> str:
    """Return ``url`` with the proxy in the place of its server.

    Raises:
        InvalidURI: It is none of a WebSocket.
    """
    parse_uri(url)
    host, port = proxy.address
    return urlsplit(url)._replace(scheme="ws", netloc=f"{host}:{port}").geturl()
