"""The stand-in for ``websockets.sync.client.connect``, as :mod:`~pytest_connex.proxy.connect` is for its twin."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

from websockets.exceptions import SecurityError
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as websockets_connect

from ..config import origin
from .connect import MAX_REDIRECTS, Announced, at, redirect_of, without_credentials
from .desk import Address
from .upstream import TRANSPORT_OPTIONS

_SOCKET_OPTIONS = ("address", "source_address", "timeout")
"""Options that go on to ``socket.create_connection``."""


def sync_connector(proxy: Announced, checked: Callable[[], None]) -> Callable[..., ClientConnection]:
    """Return what takes the place of ``websockets.sync.client.connect``: the same call, the same object.

    Args:
        proxy: Where the dials arrive.
        checked: Called before each dial; it may end a test that goes on after its verdict.
    """

    def connect(uri: str, **kwargs: Any) -> ClientConnection:
        given = {name: value for name, value in kwargs.items() if name not in _SOCKET_OPTIONS}
        url = uri
        for _ in range(MAX_REDIRECTS):
            checked()
            sock = socket.create_connection(proxy.address)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ours = sock.getsockname()
                proxy.announce(ours, url, given)
                return _connected(proxy, ours, sock, url, given)
            except Exception as exc:
                sock.close()
                location = redirect_of(exc) or redirect_of(exc.__cause__)
                if location is None:
                    raise
                url, moved = urljoin(url, location), url
                if origin(url) != origin(moved):
                    given = without_credentials(given)
            except BaseException:
                sock.close()
                raise
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    return connect


def _connected(
    proxy: Announced, ours: Address, sock: socket.socket, url: str, given: dict[str, Any]
) -> ClientConnection:
    local = {name: value for name, value in given.items() if not name.startswith(TRANSPORT_OPTIONS)}
    try:
        connection: ClientConnection = websockets_connect(at(proxy, url), sock=sock, **local)
    except Exception as exc:
        behaviour = proxy.behaviour(ours)
        if behaviour is None or behaviour.refusal is None:
            raise
        raise behaviour.refusal from exc
    behaviour = proxy.behaviour(ours)
    if behaviour is not None and behaviour.on_read is not None:
        connection.recv = _counted(connection.recv, behaviour.on_read)  # type: ignore[method-assign]
    return connection


def _counted(recv: Callable[..., Any], on_read: Callable[[], None]) -> Callable[..., Any]:
    """Return ``recv`` that tells of every message it hands out."""

    def counted(*args: Any, **options: Any) -> Any:
        message = recv(*args, **options)
        on_read()
        return message

    return counted
