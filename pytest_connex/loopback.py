"""The TCP connections of one event loop: what is under way on them, and whether they lead out of the loop.

A clock that jumps has to know both. The kernel carries bytes between two sockets of the same loop by itself, and a
loop with nothing to do cannot tell "nothing comes any more" from "it has not arrived yet". And where the other end of
a connection belongs to another thread or process, nobody can tell when its answer comes.

How much is under way, the kernel says: on Linux SIOCOUTQ, on macOS SO_NWRITE. Elsewhere it cannot be asked, and
:data:`CAN_TELL` is False.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import termios
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

Address = tuple[str, int]
End = tuple[Address, Address]
"""One end of a connection: its own address, and that of the other end."""

_PACKETS = "/sys/class/net/lo/statistics/tx_packets"
_MAPPED = "::ffff:"
"""So begin IPv4 addresses on a socket that takes both."""


_CLOSED = -1


def _by_siocoutq(fds: Iterable[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    count, nothing, ioctl = bytearray(4), bytearray(4), fcntl.ioctl
    for fd in fds:
        try:
            ioctl(fd, _SIOCOUTQ, count)
        except OSError:
            found[fd] = _CLOSED
        else:
            if count != nothing:
                found[fd] = int.from_bytes(count, sys.byteorder)
    return found


def _by_so_nwrite(fds: Iterable[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for fd in fds:
        try:
            with _borrowed(fd) as sock:
                found[fd] = sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        except OSError:
            found[fd] = _CLOSED
    return {fd: count for fd, count in found.items() if count}


_SIOCOUTQ = 0x5411
_SO_NWRITE = 0x1024

_Measure = Callable[[Iterable[int]], dict[int, int]]

_unacknowledged: _Measure | None = {"linux": _by_siocoutq, "darwin": _by_so_nwrite}.get(sys.platform)
"""Returns how many bytes were written to each socket of which the other end's kernel has not said that it has them.

Sockets without such bytes are left out, and those that are closed have ``_CLOSED``.
"""

CAN_TELL = _unacknowledged is not None
"""Whether the kernel says how much is under way."""


class Connections:
    """The connections of an event loop, as far as its selector has seen them.

    Attributes:
        dialling: The sockets of the loop whose dials are under way.
    """

    def __init__(self) -> None:
        self.dialling: set[object] = set()
        self._ends: dict[int, End] = {}
        self._sockets: dict[End, int] = {}
        self._leading_out: dict[End, int] = {}
        self._parted: dict[int, End] = {}
        self._unread: dict[int, int] = {}
        self._traffic = _Traffic()
        self._quiet_at: bytes | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def close(self) -> None:
        """Forget them all."""
        self._traffic.close()
        self._ends.clear()
        self._leading_out.clear()

    def add(self, fd: int) -> None:
        """Note that the loop watches a file descriptor, whatever it is; one that it watches again changes nothing."""
        end = _end_of(fd)
        if end == self._ends.get(fd):
            return
        self._forget(fd)
        if end is None:
            return
        if not self._ends:
            self._traffic.check()
        local, peer = end
        self._ends[fd] = end
        self._sockets[end] = fd
        if (peer, local) in self._sockets:
            self._leading_out.pop((peer, local), None)
        else:
            self._leading_out[end] = fd

    def lead_out(self) -> bool:
        """Tell whether the other end of a connection that is open was never seen in this loop."""
        for end, fd in list(self._leading_out.items()):
            if _end_of(fd) == end:
                return True
            self._forget(fd)
        return False

    def under_way(self) -> dict[int, int]:
        """Return the sockets that have bytes under way, and how many; 0 where it is the end of the connection.

        Those are left out of which :meth:`give_up` was told, until somebody reads at their other ends.
        """
        packets = self._traffic.packets()
        if packets is not None and packets == self._quiet_at:
            return {}
        found = self._unacknowledged(self._ends)
        for fd in self._unread.keys() - found.keys():
            del self._unread[fd]
        if found:
            found = self._unacknowledged(filter(self._is_watched, found))
        found = {fd: count for fd, count in found.items() if not self._is_given_up(fd, count)}
        found |= {fd: 0 for fd, end in self._parted.items() if end[::-1] in self._sockets}
        self._parted.clear()
        self._quiet_at = None if found else packets
        return found

    def give_up(self, unread: dict[int, int]) -> None:
        """Wait no more for what :meth:`under_way` returned: nobody reads it."""
        self._unread |= unread

    def _unacknowledged(self, fds: Iterable[int]) -> dict[int, int]:
        found = _unacknowledged(fds) if _unacknowledged is not None else {}
        for fd in [fd for fd, count in found.items() if count == _CLOSED]:
            del found[fd]
            self._forget(fd)
        return found

    def _is_given_up(self, fd: int, count: int) -> bool:
        """Tell whether a socket is given up, and has not got on since."""
        if count < self._unread.get(fd, 0):
            del self._unread[fd]
        return fd in self._unread

    def _is_watched(self, fd: int) -> bool:
        """Tell whether the loop would notice if something arrived at the other end of a socket.

        Where the other end has got something that it has not read, the loop does not watch it, or it would have been
        ready. Where it has read everything, it is made to say so; Linux takes up to 40 ms for that otherwise.
        """
        end = self._ends.get(fd)
        other = None if end is None else self._sockets.get(end[::-1])
        if other is None:
            return True
        try:
            unread = bytearray(4)
            fcntl.ioctl(other, termios.FIONREAD, unread)
            if any(unread):
                return False
            if hasattr(socket, "TCP_QUICKACK"):
                with _borrowed(other) as sock:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            pass  # it is closed
        return True

    def _forget(self, fd: int) -> None:
        """Forget a socket that is closed."""
        self._unread.pop(fd, None)
        end = self._ends.pop(fd, None)
        if end is None:
            return
        self._leading_out.pop(end, None)
        if self._sockets.get(end) == fd:
            del self._sockets[end]
        self._parted[fd] = end


class _Traffic:
    """The packets that this machine sent to itself, so that nobody looks at sockets while there are none."""

    def __init__(self) -> None:
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(_PACKETS, os.O_RDONLY | os.O_CLOEXEC)
        self._first = self.packets()

    def check(self) -> None:
        """Believe no count that has not moved, although a connection was made: it is that of another machine."""
        if self.packets() == self._first:
            self.close()

    def packets(self) -> bytes | None:
        """Return a count that changes with every packet, or None where there is none."""
        if self._file is None:
            return None
        return os.pread(self._file, 32, 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _end_of(fd: int) -> End | None:
    """Return which end of a TCP connection a file descriptor is, or None: it is something else, or not connected."""
    try:
        with _borrowed(fd) as sock:
            if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
                return None
            return _plain(sock.getsockname()), _plain(sock.getpeername())
    except OSError:
        return None


def _plain(address: tuple[str, int]) -> Address:
    return address[0].removeprefix(_MAPPED), address[1]


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.SocketType]:
    """Return the socket of a file descriptor that stays somebody else's.

    ``socket.socket`` may be replaced by what refuses sockets; this one exists already.
    """
    sock = socket.SocketType(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()
