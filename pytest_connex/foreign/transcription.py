"""Telling a :class:`~pytest_connex.cassette.recorder.Recorder` what a foreign capture holds.

So an imported recording is redacted, renumbered and written as every other one.
"""

from __future__ import annotations

from collections.abc import Callable

from ..cassette.events import Closed, Dial, Late, Left, Open, Received, Refused, Rejected, Sent
from ..cassette.recorder import Recorder
from ..cassette.store import unplayable
from ..errors import CassetteError
from .traffic import Exchange, Lost, Traffic


class Transcription:
    """Takes traffic in its order.

    Args:
        recorder: Told of everything that happens on WebSockets.
        exchange: Takes what is HTTP.

    Attributes:
        connections: How many there were.
        messages: How many there were on all of them.
        lost: How many connections the capture has no end of.
    """

    def __init__(self, recorder: Recorder, exchange: Callable[[Exchange], None]) -> None:
        self.connections = self.messages = self.lost = 0
        self._recorder = recorder
        self._exchange = exchange
        self._numbers: dict[int, int] = {}

    def take(self, traffic: Traffic) -> None:
        """Record one thing that happened.

        Raises:
            CassetteError: No client could have seen it, or it cannot be written.
        """
        recorder = self._recorder
        match traffic:
            case Received(conn=conn, at=at):
                self.messages += 1
                recorder.received(self._numbers[conn], at, traffic.payload)
            case Sent(conn=conn, at=at) | Late(conn=conn, at=at):
                self.messages += 1
                recorder.sent(self._numbers[conn], at, traffic.payload)
            case Exchange():
                self._exchange(traffic)
            case Dial(conn=conn, at=at, url=url):
                self.connections += 1
                self._numbers[conn] = recorder.dial(at, url, traffic.subprotocols, traffic.headers)
            case Open(conn=conn, at=at):
                recorder.opened(self._numbers[conn], at, traffic.subprotocol, traffic.headers)
            case Lost(conn=conn, at=at):
                self.lost += 1
                recorder.closed(self._numbers[conn], at, "network", 1006, "")
            case Closed(conn=conn, at=at, by=by, code=code, reason=reason):
                self._check(Closed(conn, at, by, code))  # the recorder shortens the reason
                if traffic.no_pong_since is not None:
                    self._pinged(self._numbers[conn], traffic.no_pong_since, traffic.pongs)
                recorder.closed(
                    self._numbers[conn],
                    at,
                    "client" if by == "test" else by,
                    code,
                    reason,
                    answered=not traffic.no_close,
                    hung_up=traffic.hung_up,
                    reset=traffic.reset,
                )
            case Rejected(conn=conn, at=at, status=status):
                self._check(traffic)
                recorder.rejected(self._numbers[conn], at, status, traffic.headers, traffic.content, traffic.reason)
            case Left(conn=conn, at=at):
                recorder.left(self._numbers[conn], at)
            case Refused(conn=conn, at=at):
                recorder.refused(self._numbers[conn], at, _error(traffic))

    def _pinged(self, conn: int, no_pong_since: float, pongs: int) -> None:
        """Record the first ping that was not answered, and how many had been before."""
        if pongs:
            self._recorder.pinged(conn, no_pong_since)
            self._recorder.ponged(conn, no_pong_since, pongs)
        self._recorder.pinged(conn, no_pong_since)

    def _check(self, event: Closed | Rejected) -> None:
        if problem := unplayable(event):
            raise CassetteError(f"connection {self._numbers[event.conn]}: {problem}")


def _error(refused: Refused) -> OSError:
    """Return an error of the kind's name: the recorder keeps no more of it."""
    kind = type(refused.error if refused.error.isidentifier() else "OSError", (OSError,), {})
    error: OSError = kind(refused.errno, refused.message)
    return error
