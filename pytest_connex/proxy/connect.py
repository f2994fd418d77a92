"""The stand-in for ``websockets.connect``: the same call, the same objects, another other end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol, cast
from urllib.parse import urljoin, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import InvalidStatus, SecurityError

from ..clock import Timer
from ..config import origin
from ..errors import ReplayAborted
from .endpoint import Behaviour, Endpoint
from .upstream import TRANSPORT_OPTIONS

_MOMENT = 0.001  # seconds

MAX_REDIRECTS = 10

_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


class Dialler(Protocol):
    """What answers the dials of a test."""

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Return the behaviour for a dial of ``url`` with the keyword arguments ``dial``.

        Raises:
            OSError: The recording has the dial refused.
        """


def connector(
    dialler: Dialler, opened: Callable[[Endpoint], None] = lambda endpoint: None
) -> type[websockets_connect]:
    """Return a subclass of ``websockets.connect`` whose connections ``dialler`` answers.

    It is called, awaited, entered and iterated like the original, and returns the original's connections.
    ``opened`` gets the other end of each, so that its owner can end what a test leaves open.
    """

    class ConnexConnect(websockets_connect):
        def __init__(self, uri: str, **kwargs: Any) -> None:
            super().__init__(uri, **kwargs)
            self._connex_dial = (uri, kwargs)

        def __await__(self) -> Generator[Any, None, ClientConnection]:
            return self._dialled().__await__()

        async def _dialled(self) -> ClientConnection:
            uri, kwargs = self._connex_dial
            # Leaving ``async with`` closes this attribute in releases of websockets before 17.
            self.connection = await _dial(dialler, opened, uri, kwargs)
            return self.connection

    return ConnexConnect


async def _dial(
    dialler: Dialler, opened: Callable[[Endpoint], None], url: str, kwargs: dict[str, Any]
) -> ClientConnection:
    local = {name: value for name, value in kwargs.items() if not name.startswith(TRANSPORT_OPTIONS)}
    for _ in range(MAX_REDIRECTS):
        try:
            behaviour = dialler.behaviour(url, kwargs)
        except ReplayAborted:
            if threading.current_thread() is threading.main_thread():
                # A task that dials again and again rests here until it is cancelled. A thread has to end.
                await asyncio.get_running_loop().create_future()
            raise
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            endpoint = Endpoint(behaviour)
            await asyncio.get_running_loop().create_connection(lambda: endpoint, sock=ours)  # noqa: B023  (called here)
            opened(endpoint)
            if behaviour.on_read is not None:
                local["create_connection"] = _counting(kwargs.get("create_connection"), behaviour.on_read)
            connection = await websockets_connect(without_tls(url), sock=theirs, **local)
            endpoint.on_farewell = partial(_keep_reading, connection)
            return connection
        except ValueError as exc:
            location = redirect_of(exc.__cause__)
            theirs.close()
            if location is None:
                raise
            url, moved = urljoin(url, location), url
            if origin(url) != origin(moved):
                kwargs, local = without_credentials(kwargs), without_credentials(local)
        except Exception as exc:
            theirs.close()
            if behaviour.refusal is None:
                raise
            raise behaviour.refusal from exc
        except BaseException:
            theirs.close()
            raise
    raise SecurityError(f"more than {MAX_REDIRECTS} redirects")


def _keep_reading(connection: ClientConnection) -> None:
    """Have a client that closes read on: with full buffers it stops reading, and waits ten seconds for our close."""
    if connection.transport.is_closing():
        return
    connection.transport.resume_reading()
    Timer(asyncio.get_running_loop(), _MOMENT, _keep_reading, connection)


def _counting(
    base: Callable[..., ClientConnection] | None, on_read: Callable[[], None]
) -> Callable[..., ClientConnection]:
    """Return what makes connections that tell of every message they hand out."""

    parent = cast(type[ClientConnection], base if isinstance(base, type) else ClientConnection)

    class Counting(parent):  # type: ignore[valid-type,misc]
        async def recv(self, *args: Any, **options: Any) -> Any:
            message = await super().recv(*args, **options)
            on_read()
            return message

    return Counting


def redirect_of(exc: BaseException | None) -> str | None:
    """Return where a failed dial is redirected to, or None."""
    if isinstance(exc, InvalidStatus) and exc.response.status_code in _REDIRECTS:
        return exc.response.headers.get("Location")
    return None


def without_credentials(dial: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a dial for another origin: the client's key may be in any of its headers."""
    return {**dial, "additional_headers": None}


def without_tls(url: str) -> str:
    """Return ``url`` for a client whose other end is in this process: without TLS, with the same Host header."""
    parts = urlsplit(url)
    if parts.scheme != "wss":
        return url
    netloc = parts.netloc.removesuffix(":443")
    return parts._replace(scheme="ws", netloc=netloc).geturl()
