"""Who is answered what: from the recording of whoever asks, or by the upstream, while it is recorded or not."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

from ..cassette.exchange import HttpRequest, values
from ..cassette.session import CassetteSession
from ..errors import CassetteError, ReplayAborted
from ..faults import Faults
from ..upstreams import http_url, is_tls, websocket_url
from .endpoint import Behaviour
from .forward import Forward, kept_headers, relocated, target, tls
from .http import Answering, Asked, Refusal, refusal
from .listener import Listener
from .messages import Headers
from .playing import Playing
from .port import Port
from .replay import VERDICT_STATUS, Verdict
from .served import Served
from .taping import Taping

_NOBODY = "no test that uses Connex is running, so that this belongs to nobody: who asks has been left behind"

_ARGUMENTS = frozenset({"origin", "user-agent"})
"""Headers of a handshake for which ``websockets.connect`` has an argument of their own."""

Address = tuple[str, int]


class Desk:
    """Answers the clients of a proxy, on the loop of each; its ports are made here.

    Args:
        owner: Returns whose recordings count at the moment, or None where nobody asks for good reason.
        upstreams: The URL of each server, by its name.
        faults: What goes wrong between the proxy and its clients.
        here: Returns scheme and host of the proxy for the clients of an upstream, as they know it.
        note: Told in words why a client got no answer.

    Attributes:
        requests: How many HTTP requests there were.
    """

    def __init__(
        self,
        owner: Callable[[], CassetteSession | None],
        upstreams: Mapping[str, str],
        faults: Faults,
        here: Callable[[str], str],
        note: Callable[[str], None],
    ) -> None:
        self.requests = 0
        self._owner = owner
        self._upstreams = upstreams
        self._faults = faults
        self._proxy_here = here
        self._note = note
        self._forwards: dict[tuple[str, bool], Forward] = {}
        self._served: dict[CassetteSession, Served] = {}
        self._visiting: CassetteSession | None = None
        self._uses: Callable[[CassetteSession], bool] = lambda fixture: True
        self._announced: dict[Address, tuple[str, dict[str, Any]]] = {}
        self._dialled: dict[Address, Behaviour] = {}
        self._verified: ssl.SSLContext | None = None
        self._looking: list[threading.Thread] = []

    def trust(self) -> None:
        """Read whose certificates are believed.

        Raises:
            ConfigError: ``CONNEX_CA_BUNDLE`` names what cannot be read.
        """
        self._verified = tls()

    def settle(self) -> None:
        """Wait until everything large has been looked into; not on the loop."""
        while self._looking:
            self._looking.pop().join()

    def port(self, name: str, listener: Listener | None = None) -> Port:
        """Return a port that serves an upstream, on a free port or through ``listener``."""
        url = self._upstreams[name]
        return Port(
            partial(self._http, name),
            partial(self._websocket, name),
            self._faults,
            relocated=partial(self._relocated, name),
            origins={_origin(url)} if url else (),
            listener=listener,
            announced=lambda asked: asked.peer in self._announced,
        )

    async def stop(self) -> None:
        """Give up the connections to upstreams that are on the running loop."""
        for served in list(self._served.values()):
            await served.stop()
        for forward in self._forwards.values():
            forward.stop()

    # whose the connections are

    def visit(self, session: CassetteSession, uses: Callable[[CassetteSession], bool]) -> None:
        """A test begins: what passes on connections of the shared fixtures that it uses is on its tape."""
        self._visiting, self._uses = session, uses
        self._settle()

    def pause(self) -> None:
        """A shared fixture is about to be set up: what the test uses may be used by the fixture now."""
        if self._visiting is not None:
            self._turn(self._visiting, None)

    def hand_over(self, session: CassetteSession | None) -> None:
        """A shared fixture has been set up: the connections that it has dialled and used are for the tests."""
        if session is not None:
            self._turn(session, None)
        self._settle()

    def take_back(self, session: CassetteSession) -> None:
        """A shared fixture is about to end: its connections are its own again."""
        if session in self._served:
            self._served[session].take_back()

    async def leave(self, session: CassetteSession) -> Callable[[Behaviour], bool]:
        """Give up what a test, or a fixture, has left open at upstreams; return which connections those are."""
        if session is self._visiting:
            self._visiting = None
        served = self._served.pop(session, None)
        for other in list(self._served.values()):
            other.part(session)
        if served is None:
            return lambda behaviour: False
        await served.stop()
        return served.has

    def _turn(self, before: CassetteSession | None, after: CassetteSession | None) -> None:
        for served in list(self._served.values()):
            served.turn(before, after)

    def _settle(self) -> None:
        """Give the test what it uses of the connections that nobody has."""
        for session, served in list(self._served.items()):
            if self._visiting is not None and self._uses(session):
                served.turn(None, self._visiting)

    # dials that were announced

    def announce(self, dialler: Address, url: str, dial: dict[str, Any]) -> None:
        """Know what the connection from the address ``dialler`` means: ``url``, with these arguments."""
        self._announced[dialler] = url, dial

    def behaviour(self, dialler: Address) -> Behaviour | None:
        """Return what answers the connection from there; each is asked for once."""
        return self._dialled.pop(dialler, None)

    # HTTP

    async def _http(self, name: str, asked: Asked, answering: Answering) -> None:
        self.requests += 1
        session = self._owner()
        if session is None:
            answering.refuse(refusal(503, _NOBODY))
        elif (verdict := session.final_verdict()) is not None:
            answering.refuse(refusal(VERDICT_STATUS, str(verdict)))
        elif session.plan.action == "replay":
            await self._play(session, name, asked, answering)
        else:
            await self._pass_on(session, name, asked, answering)

    async def _pass_on(self, session: CassetteSession, name: str, asked: Asked, answering: Answering) -> None:
        keep = session.plan.action == "record"
        forward = self._forward(name, keep)
        observer = Taping(session.http_recorder(), name, session.fail, self._elsewhere) if keep else None
        await forward.pass_on(asked, answering, self._here(name, asked), observer)

    async def _play(self, session: CassetteSession, name: str, asked: Asked, answering: Answering) -> None:
        upstream = http_url(self._upstreams[name])
        body = await asked.read()
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            try:
                player = session.http_player()
                request = HttpRequest(asked.method, target(upstream, asked.target), kept_headers(asked.headers), body)
                played = player.ask(request, name)
                plan, here = session.plan, self._here(name, asked)
                playing = Playing(
                    played, player.order, plan.replay_timeout, plan.pace, partial(_headed, upstream, here)
                )
                await playing.play(asked, answering)
                return
            except CassetteError as exc:
                session.fail(exc)
        if answering.began:
            answering.cut()
        else:
            answering.refuse(refusal(VERDICT_STATUS, str(session.verdict)))

    def _forward(self, name: str, keep: bool) -> Forward:
        if (name, keep) not in self._forwards:
            url = http_url(self._upstreams[name])
            self._forwards[name, keep] = Forward(url, keep, self._tls(url), self._note)
        return self._forwards[name, keep]

    def _tls(self, url: str) -> ssl.SSLContext | None:
        """Return how the certificate of a server is verified; None where it speaks no TLS."""
        if not is_tls(url):
            return None
        if self._verified is None:
            self.trust()
        return self._verified

    def _elsewhere(self, work: Callable[[], None]) -> None:
        """Look into something large in a thread of its own."""
        thread = threading.Thread(target=work, name="connex-taping", daemon=True)
        thread.start()
        self._looking.append(thread)

    def _relocated(self, name: str, asked: Asked, location: str) -> str:
        """Return where a WebSocket handshake is redirected to, as the client is to see it."""
        here = self._here(name, asked).replace("http", "ws", 1)
        return relocated("Location", location, websocket_url(self._upstreams[name]), here)

    def _here(self, name: str, asked: Asked) -> str:
        """Return scheme and host of the proxy as the client knows it."""
        known = self._proxy_here(name)
        host = asked.value("host")
        return f"{known.partition('://')[0]}://{host}" if host else known

    def _is_here(self, name: str, origin: str) -> bool:
        """Tell whether an origin is that of the proxy: the client's own idea of where the server is."""
        parts = urlsplit(self._proxy_here(name))
        return urlsplit(origin).netloc in (parts.netloc, f"localhost:{parts.port}")

    # WebSocket

    def _websocket(self, name: str, asked: Asked) -> Behaviour | Refusal:
        peer = cast(Address, asked.peer)
        announced = self._announced.pop(peer, None)
        session = self._owner()
        if session is None:
            return refusal(503, _NOBODY)
        if announced is not None:
            behaviour = self._dial(session, *announced)
            self._dialled[peer] = behaviour
            return behaviour
        if (verdict := session.final_verdict()) is not None:
            return refusal(VERDICT_STATUS, str(verdict))
        if not self._upstreams[name]:
            return refusal(502, "no upstream for WebSocket is configured")
        url = target(websocket_url(self._upstreams[name]), asked.target)
        dial = _dial(asked)
        if self._is_here(name, dial.get("origin", "")):
            dial["origin"] = _origin(self._upstreams[name])
        if session.plan.action != "replay":
            dial["ssl"] = self._tls(url)
        return self._dial(session, url, dial)

    def _dial(self, session: CassetteSession, url: str, dial: dict[str, Any]) -> Behaviour:
        served = self._served.setdefault(session, Served(session, self._owner))
        with suppress(ReplayAborted):  # ends a test; here it is said by the verdict
            return served.dial(url, dial)
        return Verdict(session.verdict or CassetteError("the test has ended"))


def _headed(upstream: str, here: str, headers: Headers) -> Headers:
    """Return the headers of a recorded answer for a client that knows the server as ``here``."""
    return [(name, relocated(name, value, upstream, here)) for name, value in kept_headers(headers)]


def _origin(url: str) -> str:
    """Return what a browser calls the origin of the page that a server is on."""
    parts = urlsplit(http_url(url))
    return f"{parts.scheme}://{parts.netloc}"


def _dial(asked: Asked) -> dict[str, Any]:
    """Return a handshake as the arguments of ``websockets.connect``."""
    dial: dict[str, Any] = {
        "additional_headers": _dial_headers(asked),
        "user_agent_header": asked.value("user-agent"),
    }
    if origin := asked.value("origin"):
        dial["origin"] = origin
    offered = values(asked.headers, "sec-websocket-protocol")
    if names := [name.strip() for line in offered for name in line.split(",") if name.strip()]:
        dial["subprotocols"] = names
    return dial


def _dial_headers(asked: Asked) -> Headers:
    return [
        (name, value)
        for name, value in kept_headers(asked.headers)
        if name.lower() not in _ARGUMENTS and not name.lower().startswith("sec-websocket-")
    ]
