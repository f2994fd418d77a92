"""The stand-in for ``websockets.connect``: the same call, the same objects, another other end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Generator
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import InvalidStatus, SecurityError

from .endpoint import Behaviour, Endpoint
from .relay import TRANSPORT_OPTIONS

_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


class Dialler(Protocol):
    """What answers the dials of a test."""

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Return the behaviour for a dial of ``url`` with the keyword arguments ``dial``.

        Raises:
            OSError: The recording has the dial refused.
        """


def connector(
    dialler: Dialler, opened: Callable[[asyncio.Transport], None] = lambda transport: None
) -> type[websockets_connect]:
    """Return a subclass of ``websockets.connect`` whose connections ``dialler`` answers.

    It is called, awaited, entered and iterated like the original, and returns the original's connections.
    ``opened`` gets the server half of each, so that its owner can end what a test leaves open.
    """

    class ConnexConnect(websockets_connect):
        def __init__(self, uri: str, **kwargs: Any) -> None:
            super().__init__(uri, **kwargs)
            self._connex_dial = (uri, kwargs)

        def __await__(self) -> Generator[Any, None, ClientConnection]:
            uri, kwargs = self._connex_dial
            return _dial(dialler, opened, uri, kwargs).__await__()

    return ConnexConnect


async def _dial(
    dialler: Dialler, opened: Callable[[asyncio.Transport], None], url: str, kwargs: dict[str, Any]
) -> ClientConnection:
    local = {name: value for name, value in kwargs.items() if not name.startswith(TRANSPORT_OPTIONS)}
    for _ in range(_MAX_REDIRECTS):
        behaviour = dialler.behaviour(url, kwargs)
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(
                lambda: Endpoint(behaviour),  # noqa: B023  (called here)
                sock=ours,
            )
            opened(transport)
            return await websockets_connect(_without_tls(url), sock=theirs, **local)
        except ValueError as exc:
            location = _redirect_of(exc.__cause__)
            theirs.close()
            if location is None:
                raise
            url = urljoin(url, location)
        except Exception as exc:
            theirs.close()
            if behaviour.refusal is None:
                raise
            raise behaviour.refusal from exc
        except BaseException:
            theirs.close()
            raise
    raise SecurityError(f"more than {_MAX_REDIRECTS} redirects")


def _redirect_of(exc: BaseException | None) -> str | None:
    if isinstance(exc, InvalidStatus) and exc.response.status_code in _REDIRECTS:
        return exc.response.headers.get("Location")
    return None


def _without_tls(url: str) -> str:
    """The same Host header, without TLS: both ends are in this process."""
    parts = urlsplit(url)
    if parts.scheme != "wss":
        return url
    netloc = parts.netloc.removesuffix(":443")
    return parts._replace(scheme="ws", netloc=netloc).geturl()
