"""The stand-in for ``websockets.sync.client.connect``.

The client blocks its thread, so its other end lives on an event loop in the background; the rest is as in
:mod:`~pytest_connex.proxy.connect`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urljoin

from websockets.exceptions import SecurityError
from websockets.sync.client import ClientConnection, unix_connect

from ..background import BackgroundLoop
from ..config import origin
from .connect import MAX_REDIRECTS, Dialler, redirect_of, without_credentials, without_tls
from .endpoint import Behaviour, Endpoint
from .upstream import TRANSPORT_OPTIONS

_SOCKET_OPTIONS = ("address", "source_address", "timeout")
"""Options that go on to ``socket.create_connection``."""


def sync_connector(
    dialler: Dialler, background: BackgroundLoop, opened: Callable[[Endpoint], None]
) -> Callable[..., ClientConnection]:
    """Return what takes the place of ``websockets.sync.client.connect``: the same call, the same object.

    Args:
        dialler: Answers the dials, on the loop of ``background``.
        background: Where the other ends live.
        opened: Gets the other end of each connection.
    """

    def connect(uri: str, **kwargs: Any) -> ClientConnection:
        given = {name: value for name, value in kwargs.items() if name not in _SOCKET_OPTIONS}
        local = {name: value for name, value in given.items() if not name.startswith(TRANSPORT_OPTIONS)}
        url = uri
        for _ in range(MAX_REDIRECTS):
            behaviour, endpoint, theirs = background.run(_attach(dialler, url, given))
            opened(endpoint)
            if behaviour.on_read is not None:
                local["create_connection"] = _counting(kwargs.get("create_connection"), behaviour.on_read)
            try:
                # Not connect(): before websockets 17 that sets an option of TCP on whatever socket it gets.
                connection: ClientConnection = unix_connect(uri=without_tls(url), sock=theirs, **local)
                return connection
            except Exception as exc:
                theirs.close()
                location = redirect_of(exc) or redirect_of(exc.__cause__)
                if location is None:
                    if behaviour.refusal is None:
                        raise
                    raise behaviour.refusal from exc
                url, moved = urljoin(url, location), url
                if origin(url) != origin(moved):
                    given, local = without_credentials(given), without_credentials(local)
            except BaseException:
                theirs.close()
                raise
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    return connect


async def _attach(dialler: Dialler, url: str, dial: dict[str, Any]) -> tuple[Behaviour, Endpoint, socket.socket]:
    """Return what answers the dial, the other end of the connection, and the socket that leads there."""
    behaviour = dialler.behaviour(url, dial)
    ours, theirs = socket.socketpair()
    endpoint = Endpoint(behaviour)
    ours.setblocking(False)
    await asyncio.get_running_loop().create_connection(lambda: endpoint, sock=ours)
    return behaviour, endpoint, theirs


def _counting(base: object, on_read: Callable[[], None]) -> type[ClientConnection]:
    """Return a class of connections that tell of every message they hand out."""
    parent = cast(type[ClientConnection], base if isinstance(base, type) else ClientConnection)

    class Counting(parent):  # type: ignore[valid-type,misc]
        def recv(self, *args: Any, **options: Any) -> Any:
            message = super().recv(*args, **options)
            on_read()
            return message

    return Counting
