"""Ports in a background thread that stand where Connex would, one for each upstream, for any client.

A run listens before it knows whether anybody will ask: what answers is imported when the first client arrives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..background import BackgroundLoop, hear
from ..config import API_KEY, API_SECRET, REST_URL, WS_URL, ConnexConfig
from ..errors import ConfigError
from ..faults import Faults
from ..upstreams import REST, WEBSOCKET, all_upstreams, is_tls, websocket_url
from .listener import Listener

if TYPE_CHECKING:
    import asyncio

    from ..cassette.session import CassetteSession
    from ..virtual import StandIn
    from .certificates import Certificates
    from .desk import Address, Desk
    from .endpoint import Behaviour
    from .port import Port

_LONG = 60.0
"""Seconds that it may take: the first client has what answers it imported, on whatever machine."""

_NO_PROXY = ("NO_PROXY", "no_proxy")
_HERE = ("127.0.0.1", "localhost")


class Proxy:
    """Where the clients of a run, of a test, or of anybody find Connex.

    Args:
        owner: Returns whose recordings count at the moment, or None where nobody asks for good reason.
        config: Connex behind it, and who is asking.
        upstreams: The URLs of other servers behind it, by name.
        seed: Of the faults.
        host: Where to listen.
        port: On which port; the next one has the next upstream. 0 takes free ones.

    Attributes:
        notes: Why clients got no answer, in words; of the proxy of a run, since the test began that runs.
        certificates: Those that clients which insist on TLS are served with; None where there are none.
        secure: Whether the URLs of this proxy are those of TLS; the ports serve clients without it all the same.
    """

    def __init__(
        self,
        owner: Callable[[], CassetteSession | None],
        config: ConnexConfig,
        upstreams: Mapping[str, str] = MappingProxyType({}),
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.notes: list[str] = []
        self.certificates: Certificates | None = None
        self.secure = False
        self._owner = owner
        self._config = config
        self._upstreams = all_upstreams(config, upstreams)
        self._faults = Faults(seed)
        self._listeners = {
            name: Listener(partial(self._arrived, name), host, port + number if port else 0)
            for number, name in enumerate(self._upstreams)
        }
        self._desk: Desk | None = None
        self._before = 0, 0
        self._visit: tuple[CassetteSession, Callable[[CassetteSession], bool]] | None = None
        self._ports: dict[str, Port] = {}
        self._background = BackgroundLoop("connex-proxy")

    def __repr__(self) -> str:
        urls = ", ".join(f"{name}={self.url(name)!r}" for name in self._upstreams)
        return f"Proxy({urls})"

    def use_tls(self, certificates: Certificates) -> None:
        """Serve clients that insist on TLS, and have the URLs say so."""
        self.certificates, self.secure = certificates, True
        for listener in self._listeners.values():
            listener.tls = certificates.context

    @property
    def faults(self) -> Faults:
        """What goes wrong between it and its clients."""
        self._prepare()
        return self._faults

    @property
    def requests(self) -> int:
        """How many HTTP requests it has had; that of a run, since the test began that runs."""
        return self._counts()[0] - self._before[0]

    @property
    def frames(self) -> int:
        """How many WebSocket messages it has passed, in both directions; that of a run, since the test began."""
        return self._counts()[1] - self._before[1]

    def _counts(self) -> tuple[int, int]:
        requests = self._desk.requests if self._desk is not None else 0
        return requests, sum(port.frames for port in list(self._ports.values()))

    @property
    def rest_url(self) -> str:
        """The URL that takes the place of ``CONNEX_REST_URL``."""
        return self.url(REST)

    @property
    def ws_url(self) -> str:
        """The URL that takes the place of ``CONNEX_WS_URL``."""
        return self.url(WEBSOCKET)

    def url(self, name: str) -> str:
        """Return the URL that takes the place of an upstream's.

        Raises:
            ConfigError: No upstream has this name.
        """
        if name not in self._upstreams:
            raise ConfigError(f"there is no upstream {name!r}: there are {', '.join(self._upstreams)}")
        parts = urlsplit(self._upstreams[name])
        scheme = "ws" if parts.scheme in ("ws", "wss") else "http"
        return f"{scheme}{self._s}://{self._authority(name)}{parts.path}" + (f"?{parts.query}" if parts.query else "")

    def env(self) -> dict[str, str]:
        """Return the environment of a subprocess that is to use this proxy: the own one, changed."""
        return {name: value for name, value in (os.environ | self.variables()).items() if value is not None}

    def variables(self) -> dict[str, str | None]:
        """Return what of the environment leads to this proxy; None for what must not be set."""
        return {
            REST_URL: self.rest_url,
            WS_URL: self.ws_url,
            API_KEY: self._config.api_key,
            API_SECRET: self._config.api_secret,
            **{variable(name): self.url(name) for name in self._upstreams if name not in (REST, WEBSOCKET)},
            **no_proxy(),
            **(self.certificates.variables() if self.certificates is not None and self.secure else {}),
        }

    def start(self) -> Proxy:
        """Listen.

        Raises:
            ConfigError: A port cannot be had, or ``CONNEX_CA_BUNDLE`` not be read.
        """
        self._background.start()
        try:
            if self._config.mode != "recorded" and any(map(is_tls, self._upstreams.values())):
                self._made_desk().trust()
            self._background.run(self._listen())
        except BaseException:
            self._background.stop()
            raise
        return self

    async def _listen(self) -> None:
        try:
            for listener in self._listeners.values():
                listener.open()
        except BaseException:
            for listener in self._listeners.values():
                listener.close()
            raise

    def stop(self) -> None:
        """Stop listening, once what clients have sent has been heard. Calling it again does nothing."""
        if self._background.is_running:
            self._background.run(self._stop())
            self._background.stop()
            if self._desk is not None:
                self._desk.settle()

    async def _stop(self) -> None:
        await hear()
        if self._desk is not None:
            await self._desk.stop()
        for port in self._ports.values():
            await port.stop()
        for listener in self._listeners.values():
            listener.close()

    def __enter__(self) -> Proxy:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stand_ins(self) -> dict[int, Callable[[], StandIn]]:
        """Return what serves each port on the loop of a virtual clock, by the number of the port."""
        return {listener.number: partial(self._stand_in, name) for name, listener in self._listeners.items()}

    # whose traffic it is

    def hear(self) -> None:
        """Take what clients have sent so far."""
        self._on_loop(None)

    def visit(self, session: CassetteSession, uses: Callable[[CassetteSession], bool] = lambda fixture: True) -> None:
        """A test begins: what passes on connections of the shared fixtures that it uses is on its tape.

        Args:
            session: The recordings of the test.
            uses: Tells whether it uses the fixture with these recordings. Of others it has what it sends, and what
                comes from then on.
        """
        self._visit = session, uses
        self.count_anew()
        self._on_loop(lambda desk: desk.visit(session, uses))

    def count_anew(self) -> None:
        """Count from nothing, and note nothing of what was."""
        self._before = self._counts()
        self.notes.clear()

    def pause(self) -> None:
        """A shared fixture is about to be set up: what the test uses may be used by the fixture now."""
        self._on_loop(lambda desk: desk.pause())

    def hand_over(self, session: CassetteSession | None) -> None:
        """A shared fixture has been set up: the connections that it has dialled and used are for the tests."""
        self._on_loop(lambda desk: desk.hand_over(session))

    def take_back(self, session: CassetteSession) -> None:
        """A shared fixture is about to end: its connections are its own again."""
        self._on_loop(lambda desk: desk.take_back(session))

    def leave(self, session: CassetteSession) -> None:
        """Hear what the clients of a test, or of a fixture, have sent, then end what they left open."""
        if self._visit is not None and self._visit[0] is session:
            self._visit = None
        self._on_loop(lambda desk: self._leave(desk, session))

    async def _leave(self, desk: Desk, session: CassetteSession) -> None:
        left_open = await desk.leave(session)
        for port in self._ports.values():
            port.drop(left_open)
        await hear()

    def _on_loop(self, work: Callable[[Desk], Coroutine[Any, Any, None] | None] | None) -> None:
        """Hear what clients have sent; then do something for those who asked, if anybody has."""
        if self._background.is_running:
            self._background.run(self._heard(work), _LONG)
            if self._desk is not None:
                self._desk.settle()

    async def _heard(self, work: Callable[[Desk], Coroutine[Any, Any, None] | None] | None) -> None:
        await hear()
        if self._desk is not None and work is not None and (more := work(self._desk)) is not None:
            await more

    # dials of this process, whose URLs are fixed

    @property
    def address(self) -> Address:
        """Host and port where WebSockets are dialled."""
        listener = self._listeners[WEBSOCKET]
        return listener.host, listener.number

    def announce(self, dialler: Address, url: str, dial: dict[str, Any]) -> None:
        """Know what the connection from the address ``dialler`` means: ``url``, with these arguments."""
        self._made_desk().announce(dialler, self._behind(url), dial)

    def behaviour(self, dialler: Address) -> Behaviour | None:
        """Return what answers the connection from there; each is asked for once."""
        return self._made_desk().behaviour(dialler)

    def _behind(self, url: str) -> str:
        """Return what a URL means: one of this proxy is that of its upstream."""
        parts = urlsplit(url)
        for name, behind in self._upstreams.items():
            if parts.netloc == self._authority(name):
                server = urlsplit(websocket_url(behind))
                return parts._replace(scheme=server.scheme, netloc=server.netloc).geturl()
        return url

    # inside

    def _authority(self, name: str) -> str:
        listener = self._listeners[name]
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        return f"{host}:{listener.number}"

    @property
    def _s(self) -> str:
        return "s" if self.secure else ""

    def _made_desk(self) -> Desk:
        if self._desk is None:
            from .desk import Desk

            self._desk = Desk(
                self._owner,
                self._upstreams,
                self._faults,
                lambda name: f"http{self._s}://{self._authority(name)}",
                self.notes.append,
            )
            if self._visit is not None:  # a test began before there was any client
                self._desk.visit(*self._visit)
        return self._desk

    def _prepare(self) -> None:
        """Have the ports made, for faults that concern dials too."""
        if self._background.is_running and not self._ports:

            async def prepared() -> None:
                for name in self._upstreams:
                    self._port(name)

            self._background.run(prepared())

    def _port(self, name: str) -> Port:
        if name not in self._ports:
            self._ports[name] = port = self._made_desk().port(name, self._listeners[name])
            port.serve()
        return self._ports[name]

    def _arrived(self, name: str) -> asyncio.Protocol:
        """Return the protocol of a client that has arrived."""
        return self._port(name).connected()

    def _stand_in(self, name: str) -> StandIn:
        from .standing import PortOnLoop

        return PortOnLoop(self._made_desk(), name)


def variable(name: str) -> str:
    """Return the variable that leads to an upstream which a project has named."""
    return f"CONNEX_UPSTREAM_{name.upper().replace('-', '_')}"


def no_proxy() -> dict[str, str]:
    """Return the variables that keep clients from going through a forward proxy to this machine."""
    listed = [name for value in map(os.environ.get, _NO_PROXY) if value for name in value.split(",")]
    if "*" in map(str.strip, listed):
        return {}
    return dict.fromkeys(_NO_PROXY, ",".join(dict.fromkeys((*map(str.strip, listed), *_HERE))))
