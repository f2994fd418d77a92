"""Answering a client's WebSocket connections from a recording.

The I/O shell around :mod:`~pytest_connex.cassette.player`: it decides nothing about what matches, only when
bytes are written, how long a client may wait, and what a verdict looks like on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.http11 import Request

from ..clock import Timer, time_of
from ..errors import CassetteError, CassetteExhausted, CassetteMismatch
from .endpoint import REPLAYABLE, Behaviour, Endpoint
from .events import Payload, Refused, Rejected
from .player import Playback, Player

MISMATCH_CODE = 4900
EXHAUSTED_CODE = 4901
VERDICT_STATUS = 501

_BATCH = 256

_TURNS = 8
"""How often a client gets its turn, at least, while it is waited for."""


class Replay:
    """Answers a client from a recording.

    Args:
        playback: What the client's dial became.
        timeout: How long the client may wait beyond the recorded gap, in seconds.
        verdict: Told when the client does what the recording does not have.
        pace: What the recorded intervals are multiplied with; 0 delivers at once what is due.
    """

    def __init__(
        self, playback: Playback, timeout: float, verdict: Callable[[CassetteError], None], pace: float = 0.0
    ) -> None:
        self.refusal: BaseException | None = None
        self._playback = playback
        self._timeout = timeout
        self._verdict = verdict
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._timer: Timer | None = None
        self._moment = self._sent_at = time_of(self._loop)
        self._gates_passed = 0
        self._condemned = False
        self._over = False
        self._waits_for_client = False
        self.sent_something: Callable[[Replay], None] = lambda replay: None

    @property
    def on_read(self) -> Callable[[], None] | None:
        """What the client's connection is to call for every message it hands out; None where nobody counts."""
        return self._playback.read if self._playback.strict else None

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Answer the handshake as it was answered when it was recorded."""
        self._endpoint = endpoint
        answer = self._playback.answer
        self._after(answer.at - self._playback.track.connection.dial.at, self._answer)

    def received(self, message: Payload) -> None:
        """Hold a message of the client against the recording, and deliver what was waiting for it."""
        self._sent_at = time_of(self._loop)
        try:
            self._playback.sent(message)
        except CassetteMismatch as exc:
            self._mismatch(exc)
            return
        self._pump()
        self.sent_something(self)

    def nudge_soon(self, sender: Replay) -> None:
        """Deliver what waited for a message that ``sender`` has got, on the loop of this connection."""
        if self._loop is sender._loop:
            self._nudge()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._nudge)

    def came_late(self, message: Payload) -> None:
        """Refuse in a strict test what the client sent after the recorded close; elsewhere it reaches nobody."""
        if self._playback.strict and not self._condemned:
            self._verdict(self._playback.late(message))

    def writable(self) -> None:
        """Deliver more."""
        self._pump()

    def ended(self, code: int, reason: str) -> None:
        """The client is done."""
        self._over = True
        self._stop()
        if not self._condemned and (error := self._playback.closed(code)):
            self._verdict(error)

    def _nudge(self) -> None:
        if self._waits_for_client and not self._playback.blocked:
            self._pump()

    def _stop(self) -> None:
        self._waits_for_client = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, gap: float, action: Callable[[], None]) -> None:
        """Do ``action`` when as much time has passed as ``gap`` becomes at this pace; at once where that is over."""
        self._stop()
        moment = self._moment + gap * self._pace
        left = moment - time_of(self._loop)
        if self._pace and left > 0:
            self._timer = Timer(self._loop, left, self._reach, moment, action)
        else:
            self._reach(moment, action)

    def _reach(self, moment: float, action: Callable[[], None]) -> None:
        self._moment = moment
        action()

    def _answer(self) -> None:
        answer = self._playback.answer
        if isinstance(answer, Rejected):
            self._endpoint.reject(answer.status, answer.headers, answer.body)
        elif isinstance(answer, Refused):
            self.refusal = _refusal(answer)
            self._endpoint.abort()
        else:
            self._endpoint.accept(answer.subprotocol, answer.headers)
            self._pump()

    def _pump(self) -> None:
        """Deliver what is due, and see to what comes next."""
        self._stop()
        try:
            if self._pace:
                self._pump_paced()
                return
            while self._endpoint.writing and not self._over:
                batch = self._playback.deliver(_BATCH)
                if not batch:
                    self._wait()
                    return
                self._endpoint.send(batch)
        except CassetteMismatch as exc:
            self._mismatch(exc)

    def _pump_paced(self) -> None:
        if self._over:
            return
        gap = self._playback.gap()
        if self._playback.gates_passed != self._gates_passed:
            self._gates_passed = self._playback.gates_passed
            self._moment = max(self._moment, self._sent_at)
        if self._playback.blocked:
            self._wait()
        else:
            self._after(gap, self._deliver_one)

    def _deliver_one(self) -> None:
        try:
            if self._endpoint.writing:
                if batch := self._playback.deliver(1):
                    self._endpoint.send(batch)
                    self._pump_paced()
                else:
                    self._wait()
        except CassetteMismatch as exc:
            self._mismatch(exc)

    def _wait(self) -> None:
        if self._over:
            return
        waiting = self._playback.waiting()
        if waiting.closed is None:
            recorded = self._playback.gap() if self._pace >= 1 else self._playback.patience()
            delay = recorded + self._timeout
            self._waits_for_client = True
            self._timer = Timer(self._loop, delay, self._exhausted, waiting.line, steps=_TURNS)
        elif waiting.closed.by == "network" or waiting.closed.code == 1006:
            self._endpoint.abort()
        else:
            self._endpoint.close(waiting.closed.code, waiting.closed.reason)

    def _mismatch(self, error: CassetteMismatch) -> None:
        self._stop()
        self._condemned = True
        self._verdict(error)
        self._endpoint.close(MISMATCH_CODE, "CassetteMismatch: see the report of the test")

    def _exhausted(self, line: int) -> None:
        recording = self._playback.track.connection
        self._condemned = True
        self._verdict(
            CassetteExhausted(
                f"the client waits on connection {recording.number}, where the recording has nothing more "
                f"to deliver before {self._playback.expectation()}\n"
                f"waited {self._timeout:g} s longer than recorded (connex_replay_timeout)",
                recording.path,
                line,
            )
        )
        self._endpoint.close(EXHAUSTED_CODE, "CassetteExhausted: see the report of the test")


class Verdict:
    """Answers a dial that comes after a verdict: HTTP 501, with the verdict as its body."""

    refusal: BaseException | None = None
    on_read: Callable[[], None] | None = None

    def __init__(self, error: CassetteError) -> None:
        self._error = error

    def dialled(self, endpoint: Endpoint, request: Request) -> None:
        """Refuse."""
        endpoint.reject(VERDICT_STATUS, {"Content-Type": "text/plain; charset=utf-8"}, str(self._error))

    def received(self, message: Payload) -> None:
        """Never happens: the handshake was refused."""

    def came_late(self, message: Payload) -> None:
        """Never happens either."""

    def writable(self) -> None:
        """Nothing more is written."""

    def ended(self, code: int, reason: str) -> None:
        """Nothing to end."""


class ReplayDialler:
    """Answers dials from a recording.

    Args:
        player: Plays it.
        timeout: How long a client may wait beyond the recorded gap, in seconds.
        verdict: Told of mismatch and exhaustion.
        pace: What the recorded intervals are multiplied with; 0 delivers at once what is due.
    """

    def __init__(
        self, player: Player, timeout: float, verdict: Callable[[CassetteError], None], pace: float = 0.0
    ) -> None:
        self.player = player
        self._timeout = timeout
        self._verdict = verdict
        self._pace = pace
        self._replays: list[Replay] = []

    def behaviour(self, url: str, dial: dict[str, Any]) -> Behaviour:
        """Claim a recorded connection."""
        try:
            playback = self.player.dial(url, dial.get("subprotocols") or ())
        except CassetteMismatch as exc:
            self._verdict(exc)
            return Verdict(exc)
        replay = Replay(playback, self._timeout, self._verdict, self._pace)
        replay.sent_something = self._nudge_others
        self._replays.append(replay)
        return replay

    def _nudge_others(self, sender: Replay) -> None:
        for replay in self._replays:
            if replay is not sender:
                replay.nudge_soon(sender)


def _refusal(refused: Refused) -> OSError:
    """Return the error a recorded refused dial was."""
    kinds = {kind.__name__: kind for kind in REPLAYABLE}
    kind = kinds.get(refused.error, ConnectionAbortedError)
    if refused.errno is None:
        return kind(refused.message)
    error = kind(refused.errno, refused.message)
    # The constructor of OSError may choose a subclass by the number, PermissionError for one.
    return error if type(error) is kind else ConnectionAbortedError(refused.errno, refused.message)
