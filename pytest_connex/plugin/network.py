"""Keeping the tests of a recorded run off the network, and those that are recorded from going around the proxy.

The guard is an audit hook, because the promise that nothing goes live unasked covers fixtures of every scope, all
threads, and whatever way Python's sockets are reached. What it blocks is the verdict of the test, which retry code
cannot swallow. What is dialled past the proxy while it records fails the test too. This machine's own addresses are
open: the proxy is one of them. uvloop has no Python sockets; its public entry points refuse instead.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..config import is_loopback
from ..errors import CassetteError, NetworkBlocked
from ..proxy.whose import is_at_door

_WAY = "Give the client the URLs of connex_config, or hand it connex_connect"
_DIALS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})

UVLOOP_REFUSED = (
    "a recorded test on uvloop is refused, because the network block cannot reach it: use asyncio's loop, or set "
    "connex_allow_uvloop = true"
)


class _Guard:
    """What the audit hook asks. An audit hook cannot be taken back, so there is one for the process."""

    def __init__(self) -> None:
        self.installed = False
        self.active = False
        self.allowed: tuple[re.Pattern[str], ...] = ()
        self.told: Callable[[CassetteError], None] = lambda verdict: None
        self.upstreams: Callable[[], Collection[str]] = tuple

    def install(self) -> None:
        if not self.installed:
            sys.addaudithook(self.audit)
            self.installed = True

    def audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not event.startswith("socket."):
            return
        if not self.active:
            if event in ("socket.connect", "socket.getaddrinfo"):
                self._check_way(args[1] if event == "socket.connect" else args)
            return
        if event in _DIALS:
            address = args[1]
            if isinstance(address, tuple) and address:
                self._check(str(address[0]), f":{address[1]}")
        elif event in _LOOKUPS and args[0]:
            name = args[0].decode("utf-8", "replace") if isinstance(args[0], bytes) else str(args[0])
            self._check(name, "")

    def _check(self, host: str, port: str) -> None:
        if is_loopback(host) or any(pattern.match(host) for pattern in self.allowed):
            return
        error = NetworkBlocked(
            f"a recorded test reached for {host}{port}: recorded runs have no network. Give the client the URLs of "
            "connex_config, which are recorded and played, or allow the host with "
            "@pytest.mark.block_network(allowed_hosts=[...])",
            again=False,
        )
        self.told(error)
        raise error

    def _check_way(self, address: object) -> None:
        """Tell of a dial to an upstream that did not come from the proxy."""
        if not isinstance(address, tuple) or self.upstreams is tuple or is_at_door():
            return
        dialled = f"{_host(address[0])}:{_port(address[1])}"
        if dialled in self.upstreams():
            self.told(CassetteError(f"this went around the recording: a dial of {dialled}. {_WAY}", again=False))


def _host(given: object) -> str:
    """Return a host, in whatever way it is given, as a URL has it."""
    if given is None:
        return "localhost"
    text = given.decode("latin-1") if isinstance(given, bytes) else str(given)
    return text.lower().removesuffix(".")


def _port(given: object) -> str:
    """Return a port, which may be given by its name."""
    text = given.decode("latin-1") if isinstance(given, bytes) else str(given)
    try:
        return text if text.isdecimal() else str(socket.getservbyname(text, "tcp"))
    except OSError:
        return text


_guard = _Guard()


@contextmanager
def blocked(
    allowed: Collection[str], uvloop: bool, told: Callable[[CassetteError], None] = lambda verdict: None
) -> Iterator[None]:
    """Refuse addresses beyond this machine, but for hosts that match one of the regular expressions ``allowed``.

    Args:
        allowed: Matched from the beginning of the host, as pytest-recording does.
        uvloop: Whether uvloop may be used.
        told: Told of each address that is refused, before whoever dials is.
    """
    _guard.install()
    before = _guard.active, _guard.allowed, _guard.told
    _guard.active, _guard.allowed, _guard.told = True, tuple(map(re.compile, allowed)), told
    try:
        with pytest.MonkeyPatch.context() as patched:
            module = sys.modules.get("uvloop")
            if module is not None and not uvloop:
                for name in ("new_event_loop", "run"):
                    patched.setattr(module, name, _refuse_uvloop)
            yield
    finally:
        _guard.active, _guard.allowed, _guard.told = before


@contextmanager
def nothing_around(upstreams: Callable[[], Collection[str]], told: Callable[[CassetteError], None]) -> Iterator[None]:
    """Tell of dials to upstreams that do not come from the proxy, so that nothing is lost unseen.

    Args:
        upstreams: Returns the addresses of the upstreams, each as ``host:port``.
        told: Told of such a dial, before it is made.
    """
    _guard.install()
    before = _guard.upstreams, _guard.told
    _guard.upstreams, _guard.told = upstreams, told
    try:
        yield
    finally:
        _guard.upstreams, _guard.told = before


def is_uvloop(loop: object) -> bool:
    """Tell whether an event loop is uvloop's, or made from it."""
    return any(kind.__module__.partition(".")[0] == "uvloop" for kind in type(loop).__mro__)


def _refuse_uvloop(*args: object, **kwargs: object) -> Any:
    raise NetworkBlocked(UVLOOP_REFUSED)
