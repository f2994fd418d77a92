"""Listening on a host and port, and not listening for a while.

asyncio's own server loses the transport of a connection that arrives while it is closed, and cannot be opened again
within one call.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from ..errors import ConfigError

_BACKLOG = 1024

_HELLO = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1); no request of HTTP begins with it."""

_LAST = 65_535

_REST = 0.1
"""Seconds without accepting when the process has no file descriptor left."""


class Listener:
    """Accepts connections within the running event loop, while it is open.

    Args:
        protocol: Makes the protocol of a connection.
        host: Where to listen.
        number: On which port; 0 takes a free one.

    Attributes:
        number: The port, once it has been open; it is the same when it opens again.
        tls: What serves clients that begin with TLS; where there is something, others are served as well.
    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol], host: str, number: int) -> None:
        self.host = host
        self.number = number
        self.tls: ssl.SSLContext | None = None
        self._protocol = protocol
        self._silent: set[asyncio.Future[None]] = set()
        self._sockets: list[socket.socket] = []
        self._arriving: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Accept from now on; what is open stays so.

        Raises:
            ConfigError: The port cannot be had.
        """
        if self._sockets:
            return
        self._loop = asyncio.get_running_loop()
        number = self.number
        try:
            if not 0 <= number <= _LAST:
                raise OverflowError(f"there are ports up to {_LAST}")
            for family, host in self._places():
                self._sockets.append(socket.create_server((host, number), family=family, backlog=_BACKLOG))
                number = int(self._sockets[-1].getsockname()[1])
        except (OSError, OverflowError) as exc:
            self.close()
            raise ConfigError(
                f"cannot listen on {self.host}:{self.number}: {exc}. Choose another port, or 0 for a free one"
            ) from exc
        self.number = number
        for sock in self._sockets:
            sock.setblocking(False)
            self._loop.add_reader(sock, self._accept, sock)

    def close(self) -> None:
        """Accept no more; whoever dials is refused."""
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()

    async def settled(self) -> None:
        """Return when every connection that was accepted has its protocol; who has said nothing gets none."""
        for silent in self._silent:
            silent.cancel()
        if self._arriving:
            await asyncio.wait(self._arriving)

    def _places(self) -> list[tuple[socket.AddressFamily, str]]:
        found = socket.getaddrinfo(self.host or None, self.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))

    def _accept(self, sock: socket.socket) -> None:
        try:
            connection, _ = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # it is gone again
        except OSError:
            self._loop.remove_reader(sock)
            self._loop.call_later(_REST, self._accept_again, sock)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._arrive(connection))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    async def _arrive(self, connection: socket.socket) -> None:
        tls = self.tls
        if tls is not None:
            try:
                tls = tls if await self._first_byte(connection) == _HELLO else None
            except asyncio.CancelledError:
                connection.close()
                return
        with suppress(OSError):  # among them ssl.SSLError: the client does not trust the certificate
            await self._loop.connect_accepted_socket(self._protocol, connection, ssl=tls)

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """Return the first byte of a client, and leave it there."""
        while True:
            try:
                return connection.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return b""
            readable: asyncio.Future[None] = self._loop.create_future()
            self._silent.add(readable)
            self._loop.add_reader(connection, _done, readable)
            try:
                await readable
            finally:
                self._silent.discard(readable)
                self._loop.remove_reader(connection)


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
